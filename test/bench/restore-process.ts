import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import * as z from 'zod'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import { openBackup } from '../../src/core/restore/open-backup.ts'
import { DEFAULT_OPTIONS } from '../../src/core/restore/restore-options.ts'
import { restoreTenant } from '../../src/core/restore/restore-tenant.ts'
import { openStore } from '../../src/core/store/open-store.ts'
import { SYSTEM, servicesOf } from '../support/backup-services.ts'

const Options = z.object({
  workerUrl: z.string(),
  storeUrl: z.string(),
  backup: z.object({
    id: z.string(),
    organizationId: z.string(),
    status: z.literal('complete'),
    backupType: z.literal('manual'),
    backupDate: z.string(),
    takenAt: z.string(),
    storeUrl: z.string(),
    copiedTo: z.array(z.string()),
    summaryPath: z.string(),
    summarySha256: z.string(),
  }),
})

// One restore in a process that does nothing else; the line on stdout says what memory it took, in bytes:
// resident before (everything loaded, connected), the most that was resident, rows written.
const [first] = await once(process.stdin.setEncoding('utf8'), 'data')
const { workerUrl, storeUrl, backup } = Options.parse(JSON.parse(String(first)))
const worker = connectDatabase({ url: workerUrl })
const services = servicesOf(worker, openStore({ url: storeUrl }))
await Promise.all([worker.query('select 1'), worker.withConnection((c) => c.query('select 1'))])

const idle = process.memoryUsage.rss()
let sampled = idle
setInterval(() => {
  sampled = Math.max(sampled, process.memoryUsage.rss())
}, 5).unref()
const { tables } = await restoreTenant(services, {
  tenantId: backup.organizationId,
  source: await openBackup(services, backup),
  isDryRun: false,
  options: DEFAULT_OPTIONS,
  actor: SYSTEM,
})
const written = tables.reduce((sum, t) => sum + t.inserted + t.updated + t.deleted, 0)
process.stdout.write(`${JSON.stringify({ idle, peak: await readPeak(), written })}\n`)
await worker.close()
process.stdin.destroy()

/** `resourceUsage().maxRSS` begins with what the parent had when it forked; the kernel's own mark does not. */
async function readPeak(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '')
  const [, kilobytes] = /^VmHWM:\s*(\d+) kB$/m.exec(status) ?? []
  return kilobytes === undefined ? sampled : Number(kilobytes) * 1024
}
