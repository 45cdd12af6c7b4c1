import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import * as z from 'zod'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import { openStore } from '../../src/core/store/open-store.ts'
import { SYSTEM, servicesOf } from '../support/backup-services.ts'

const Options = z.object({ workerUrl: z.string(), storeUrl: z.string(), tenantId: z.string() })

// One backup in a process that does nothing else; the line on stdout says what memory it took, in bytes:
// resident before (everything loaded, connected), the most that was resident, rows.
const [first] = await once(process.stdin.setEncoding('utf8'), 'data')
const { workerUrl, storeUrl, tenantId } = Options.parse(JSON.parse(String(first)))
const worker = connectDatabase({ url: workerUrl })
const services = servicesOf(worker, openStore({ url: storeUrl }))
await Promise.all([worker.query('select 1'), worker.withConnection((c) => c.query('select 1'))])

const idle = process.memoryUsage.rss()
let sampled = idle
setInterval(() => {
  sampled = Math.max(sampled, process.memoryUsage.rss())
}, 5).unref()
const { backup } = await takeBackup(services, { tenantId, backupType: 'manual', actor: SYSTEM })
const peak = await readPeak()
process.stdout.write(`${JSON.stringify({ idle, peak, rows: backup.totalRecords })}\n`)
await worker.close()
process.stdin.destroy()

/** `resourceUsage().maxRSS` begins with what the parent had when it forked; the kernel's own mark does not. */
async function readPeak(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '')
  const [, kilobytes] = /^VmHWM:\s*(\d+) kB$/m.exec(status) ?? []
  return kilobytes === undefined ? sampled : Number(kilobytes) * 1024
}
