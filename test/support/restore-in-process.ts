import * as z from 'zod'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import { RunTask } from '../../src/core/jobs/restore-task.ts'
import { runRestore } from '../../src/core/jobs/run-restore.ts'
import { openStore } from '../../src/core/store/open-store.ts'
import { SYSTEM, servicesOf } from './backup-services.ts'
import { hookDatabase } from './hooked-database.ts'

/**
 * A process that restores or undoes and dies at the statement it is told to: what a killed function looks
 * like. Prints nothing; its end says how it went.
 */
const Order = z.object({
  workerUrl: z.string(),
  storeUrl: z.string(),
  tenantId: z.string(),
  idempotencyKey: z.string(),
  task: RunTask,
  when: z.enum(['before', 'after']),
  /** A regular expression for the statement. */
  statement: z.string(),
  nth: z.number(),
  how: z.enum(['kill', 'exit']),
})
export type Order = z.infer<typeof Order>

const order = Order.parse(JSON.parse(process.argv[2] ?? ''))
const worker = connectDatabase({ url: order.workerUrl, applicationName: 'dies on purpose' })
const hooked = hookDatabase(worker, [
  {
    when: order.when,
    statement: new RegExp(order.statement),
    nth: order.nth,
    act: async () => {
      if (order.how === 'exit') process.exit(7)
      process.kill(process.pid, 'SIGKILL')
      // The signal may take a moment, in which nothing more is sent.
      await new Promise(() => {})
    },
  },
])
await runRestore(servicesOf(hooked, openStore({ url: order.storeUrl })), {
  actor: SYSTEM,
  tenantId: order.tenantId,
  tenantName: null,
  task: order.task,
  idempotencyKey: order.idempotencyKey,
  needsPlan: false,
  time: null,
})
await worker.close()
