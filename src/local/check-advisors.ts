import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as z from 'zod'
import { LEAST_ROWS } from '../../supabase/demo/plan-rows.ts'
import { findFreePort } from './free-port.ts'
import { loadDemo, protectDemo } from './load-demo.ts'
import { pushMigrations, runSupabase } from './migrations.ts'
import { startPostgres } from './postgres.ts'
import { createPlatformSchemas } from './supabase-api.ts'

/**
 * Runs Supabase's own lints on a scratch database twice: with the demonstration alone, and with our
 * schema and our policies added. What is found only the second time is ours, wherever it shows.
 */

const Finding = z.object({
  name: z.string(),
  level: z.enum(['INFO', 'WARN', 'ERROR']),
  detail: z.string(),
  remediation: z.string().nullish(),
  cache_key: z.string(),
})
type Finding = z.infer<typeof Finding>

/** Says that nobody has used an index yet, which in a database made a moment ago is true of every one. */
const MEANINGLESS_HERE = new Set(['unused_index'])

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-advisors-'))
  await chmod(folder, 0o711)
  const postgres = await startPostgres({
    dataFolder: join(folder, 'data'),
    port: await findFreePort(),
    passwords: { supabaseAdmin: 'scratch', postgres: 'scratch' },
    isDurable: false,
  })
  try {
    const adminUrl = postgres.url('postgres')
    const superuserUrl = postgres.url('supabase_admin')
    await createPlatformSchemas(superuserUrl)
    await loadDemo({ adminUrl, superuserUrl, password: 'scratch' }, LEAST_ROWS)
    const before = await readFindings(adminUrl)
    await pushMigrations(adminUrl)
    await protectDemo(adminUrl)
    report(before, await readFindings(adminUrl))
  } finally {
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

async function readFindings(adminUrl: string): Promise<Finding[]> {
  const url = new URL(adminUrl)
  url.searchParams.set('sslmode', 'disable')
  const output = await runSupabase([
    'db',
    'advisors',
    '--db-url',
    url.href,
    '--level',
    'info',
    // Whether it is ours is decided here.
    '--fail-on',
    'none',
    '--output',
    'json',
  ])
  // Nothing found is said in words.
  const start = output.indexOf('[')
  if (start < 0) return []
  const findings = z
    .array(Finding)
    .parse(JSON.parse(output.slice(start, output.lastIndexOf(']') + 1)))
  return findings.filter(({ name }) => !MEANINGLESS_HERE.has(name))
}

function report(before: readonly Finding[], after: readonly Finding[]): void {
  const known = new Set(before.map(({ cache_key }) => cache_key))
  const ours = after.filter(({ cache_key }) => !known.has(cache_key))
  const faults = ours.filter(({ level }) => level !== 'INFO')
  for (const { level, name, detail } of ours) console.log(`${level}  ${name}: ${detail}`)
  console.log(
    `Database advisors: ${faults.length} of ours to settle, ${ours.length - faults.length} notes; the demonstration alone has ${before.length}.`,
  )
  if (faults.length > 0) process.exitCode = 1
}

await main()
