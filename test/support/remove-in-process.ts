import * as z from 'zod'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import { forgetTenant } from '../../src/core/retention/forget-tenant.ts'
import { pruneBackups } from '../../src/core/retention/prune-backups.ts'
import { openStore } from '../../src/core/store/open-store.ts'
import { StoreWithCopy } from '../../src/core/store/read-with-copy.ts'
import type { Store } from '../../src/core/store/store.ts'
import { CRON, SYSTEM, servicesOf } from './backup-services.ts'
import { FaultyStore } from './faulty-store.ts'
import { hookDatabase } from './hooked-database.ts'

/**
 * A process that prunes or forgets, in two places, and dies before a statement, before a place takes the mark
 * of an erasure, or when a place has removed the first half. Prints nothing.
 */
const Order = z.object({
  workerUrl: z.string(),
  /** The first place and the second. */
  storeUrls: z.tuple([z.string(), z.string()]),
  what: z.enum(['prune', 'forget']),
  tenantId: z.string(),
  tenantName: z.string(),
  dies: z.union([
    z.object({ before: z.string() }),
    z.object({ putting: z.number() }),
    z.object({ removing: z.number() }),
  ]),
})
export type Order = z.infer<typeof Order>

const { dies, ...order } = Order.parse(JSON.parse(process.argv[2] ?? ''))

async function die(): Promise<void> {
  process.kill(process.pid, 'SIGKILL')
  // The signal comes when it comes.
  await new Promise(() => {})
}

function openPlace(index: 0 | 1): Store {
  const store = openStore({ url: order.storeUrls[index] })
  if ('putting' in dies && dies.putting === index) {
    return new FaultyStore(store, { call: 1, method: 'put', how: 'exit' })
  }
  if ('removing' in dies && dies.removing === index) {
    const halving = new FaultyStore(store)
    halving.remove = async (paths) => {
      const removal = await store.remove(paths.slice(0, Math.ceil(paths.length / 2)))
      await die()
      return removal
    }
    return halving
  }
  return store
}

const worker = connectDatabase({ url: order.workerUrl, applicationName: 'dies on purpose' })
const hooks =
  'before' in dies
    ? [{ when: 'before' as const, statement: new RegExp(dies.before), act: die }]
    : []
const services = servicesOf(
  hookDatabase(worker, hooks),
  new StoreWithCopy(openPlace(0), openPlace(1)),
)
if (order.what === 'prune') {
  await pruneBackups(services, {
    actor: CRON,
    runId: null,
    until: new Date(Date.now() + 60_000),
  })
} else {
  await forgetTenant(services, {
    tenantId: order.tenantId,
    confirmName: order.tenantName,
    isDryRun: false,
    actor: SYSTEM,
  })
}
await worker.close()
