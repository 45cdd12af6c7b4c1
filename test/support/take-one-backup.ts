import * as z from 'zod'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import { openStore } from '../../src/core/store/open-store.ts'
import { SYSTEM, servicesOf } from './backup-services.ts'
import { FaultyDatabase } from './faulty-database.ts'
import { FaultyStore } from './faulty-store.ts'

/**
 * A process that takes one backup and dies at the call it is told to: what a killed function looks
 * like. Prints nothing; its end says how it went.
 */
const Order = z.object({
  workerUrl: z.string(),
  storeUrl: z.string(),
  tenantId: z.string(),
  databaseCall: z.number().nullable(),
  storeCall: z.number().nullable(),
})
export type Order = z.infer<typeof Order>

const order = Order.parse(JSON.parse(process.argv[2] ?? ''))
const at = (call: number | null) => (call === null ? null : ({ call, how: 'exit' } as const))
const worker = connectDatabase({ url: order.workerUrl, applicationName: 'dies on purpose' })
const services = servicesOf(
  new FaultyDatabase(worker, at(order.databaseCall)),
  new FaultyStore(openStore({ url: order.storeUrl }), at(order.storeCall)),
)
await takeBackup(services, { tenantId: order.tenantId, backupType: 'manual', actor: SYSTEM })
await worker.close()
