import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@supabase/supabase-js'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import exportBackup from '../../netlify/functions/export-backup.ts'
import { parseSigningKeys } from '../../src/core/backup/signature.ts'
import { openArchive } from '../../src/core/restore/open-archive.ts'
import { describeDownload } from '../../src/page/backups/describe-download.ts'
import { makeArchive } from '../../src/page/backups/make-archive.ts'
import { type PageServices, RequestFailed } from '../../src/page/calls/call-function.ts'
import { call, createSite, type PersonName, type Site } from '../support/site.ts'

const BUCKET = { BACKUP_STORE: 'supabase://backups' }

let site: Site
let folder: string
let storage: ReturnType<ReturnType<typeof createClient>['storage']['from']>
let backup: string

beforeAll(async () => {
  site = await createSite()
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-download-'))
  const client = createClient(site.env.SUPABASE_URL, site.env.SUPABASE_SECRET_KEY)
  const made = await client.storage.createBucket('backups', { public: false })
  if (made.error !== null) throw made.error
  storage = client.storage.from('backups')
  site.setEnvironment(BUCKET)
  const { json } = await call(daily, {
    token: site.env.OPERATOR_SECRET,
    body: { organization_id: site.organizations[0].id },
  })
  backup = json.backup_id
})
afterAll(async () => {
  await site?.close()
  await rm(folder, { recursive: true, force: true })
})
beforeEach(() => site.setEnvironment(BUCKET))
afterEach(() => void vi.unstubAllGlobals())

describe('who may', () => {
  const expected: [PersonName | 'anonymous' | 'cron' | 'operator', number][] = [
    ['anonymous', 401],
    ['cron', 403],
    ['operator', 200],
    ['operatorUser', 200],
    ['owner', 200],
    ['admin', 200],
    ['member', 403],
    ['otherOwner', 404],
    ['ownerOfTwo', 404],
    ['stranger', 404],
  ]
  test.each(expected)('answers %s with %i', async (caller, status) => {
    const token =
      caller === 'cron'
        ? site.env.CRON_SECRET
        : caller === 'operator'
          ? site.env.OPERATOR_SECRET
          : caller === 'anonymous'
            ? undefined
            : await site.tokenOf(caller)

    const answer = await call(exportBackup, {
      body: { backup_id: backup },
      ...(token === undefined ? {} : { token }),
    })

    expect(answer.status).toBe(status)
    expect(answer.json.success).toBe(status === 200)
    expect('parts' in answer.json).toBe(status === 200)
  })

  test('a stranger learns nothing of whether there is such a backup', async () => {
    const token = await site.tokenOf('otherOwner')
    const [known, unknown] = await Promise.all(
      [backup, randomUUID()].map((id) => call(exportBackup, { token, body: { backup_id: id } })),
    )
    expect(known?.json.error.message).toBe(unknown?.json.error.message)
  })
})

test('gives URLs that are good without a token, for a quarter of an hour', async () => {
  const before = Date.now()

  const { json } = await call(exportBackup, {
    token: await site.tokenOf('owner'),
    body: { backup_id: backup },
  })

  const minutes = (Date.parse(json.expires_at) - before) / 60_000
  expect(minutes).toBeGreaterThan(14)
  expect(minutes).toBeLessThan(16)
  expect(json.readme.text).toContain('Alpha Gases')
  expect(json.file_name).toMatch(/^alpha-gases-.*\.zip$/)
  for (const part of json.parts) expect((await fetch(part.url)).ok).toBe(true)
  expect((await fetch(json.summary.url)).ok).toBe(true)
})

test('a browser makes an archive of it that opens with every proof', async () => {
  const described = await describeDownload(await pageOf('owner'), backup)
  const done: number[] = []

  const blob = await makeArchive(described, { onProgress: (parts) => done.push(parts) })

  const file = join(folder, described.fileName)
  await writeFile(file, Buffer.from(await blob.arrayBuffer()))
  const source = await openArchive({
    file,
    signingKeys: parseSigningKeys({ current: site.env.BACKUP_SIGNING_KEY }),
    tenantId: site.organizations[0].id,
  })
  expect(source).toMatchObject({ kind: 'archive', warnings: [] })
  expect(source.summary.backup_id).toBe(backup)
  for (const part of source.summary.tables.flatMap((table) => table.parts)) {
    expect(await source.readPart(part)).toHaveLength(part.raw_bytes)
  }
  expect(done.at(-1)).toBe(described.parts.length)
})

test('the browser saves nothing where an object is not what was backed up', async () => {
  const described = await describeDownload(await pageOf('owner'), backup)
  const [first, ...others] = described.parts
  if (first === undefined) throw new Error('There is no part.')

  for (const changed of [
    { ...first, rawSha256: '0'.repeat(64) },
    { ...first, rawBytes: first.rawBytes - 1 },
    { ...first, rawBytes: first.rawBytes + 1 },
    { ...first, url: described.summary.url },
  ]) {
    const attempt = makeArchive({ ...described, parts: [changed, ...others] })
    await expect(attempt).rejects.toMatchObject({ name: 'RequestFailed', code: 'backup_damaged' })
  }
  const gone = makeArchive({ ...described, parts: [{ ...first, url: `${first.url}x` }] })
  await expect(gone).rejects.toThrow(RequestFailed)
})

test('says that an object is gone', async () => {
  const described = await describeDownload(await pageOf('owner'), backup)
  const path = decodeURIComponent(new URL(described.parts[0]?.url ?? '').pathname).replace(
    /^.*?(?=tenant-backups\/)/,
    '',
  )
  const kept = await storage.download(path)
  if (kept.error !== null) throw kept.error
  await storage.remove([path])
  try {
    const { status, json } = await call(exportBackup, {
      token: await site.tokenOf('owner'),
      body: { backup_id: backup },
    })
    expect([status, json.error.code]).toEqual([500, 'object_missing'])
  } finally {
    await storage.upload(path, kept.data)
  }
})

test('names the command where backups are kept in a directory', async () => {
  site.setEnvironment()
  const { json: taken } = await call(daily, {
    token: site.env.OPERATOR_SECRET,
    body: { organization_id: site.organizations[1].id },
  })

  const { status, json } = await call(exportBackup, {
    token: await site.tokenOf('otherOwner'),
    body: { backup_id: taken.backup_id },
  })

  expect([status, json.error.code]).toEqual([400, 'invalid_request'])
  expect(json.error.message).toMatch(/tenantkeep export/)
})

/** What the page hands to its calls, over the function itself instead of a network. */
async function pageOf(person: PersonName): Promise<PageServices> {
  const supabase = createClient(site.env.SUPABASE_URL, site.env.SUPABASE_PUBLISHABLE_KEY)
  const { error } = await supabase.auth.setSession({
    access_token: await site.tokenOf(person),
    refresh_token: 'never used',
  })
  if (error !== null) throw error
  const network = globalThis.fetch
  vi.stubGlobal('fetch', async (input: RequestInfo | URL, init?: RequestInit) => {
    const url = String(input instanceof Request ? input.url : input)
    if (!url.startsWith('https://page.example/')) return network(input, init)
    return exportBackup(new Request(url, init))
  })
  return { supabase, functionsUrl: 'https://page.example/functions' }
}
