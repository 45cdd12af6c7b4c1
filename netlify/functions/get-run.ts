import * as z from 'zod'
import { readEvents } from '../../src/core/jobs/record-events.ts'
import { describeRestoreRun } from '../../src/core/jobs/report-restore.ts'
import { reportRun, runNotFound } from '../../src/core/jobs/report-run.ts'
import { describeSeedRun } from '../../src/core/jobs/report-seed.ts'
import { findRunIdByKey } from '../../src/core/jobs/restore-run.ts'
import { findSeedRun } from '../../src/core/jobs/seed-run.ts'
import { followRestoreRun } from '../../src/core/jobs/settle-restore.ts'
import { describeUpkeepRun, findUpkeepRun } from '../../src/core/jobs/upkeep-run.ts'
import { tenantsOf } from '../../src/http/authorize.ts'
import { handle } from '../../src/http/handle.ts'

/**
 * How a run stands: of backups its outcome per tenant and the progress of a manual one; of a restore its
 * progress, its events after a given one, and its result; of a seeding the same per tenant, for operators;
 * of upkeep its progress and its result. Owners see their own tenants; the cron secret sees the daily runs
 * and upkeep, which it starts.
 */
export default handle({
  name: 'get-run',
  methods: ['GET', 'POST'],
  input: z
    .strictObject({
      run_id: z.uuid().optional(),
      /** Of a restore that the caller started, who does not know whether it began. */
      idempotency_key: z.string().trim().min(1).max(200).optional(),
      /** Events of a restore with a greater `seq` than this. */
      after: z.coerce.number().int().min(0).default(0),
    })
    .refine((input) => (input.run_id === undefined) !== (input.idempotency_key === undefined), {
      path: ['run_id'],
      error: 'Say which run: run_id, or the idempotency_key that it was started with.',
    }),
  allow: ['cron', 'operator', 'user'],
  async run({ services, caller, input }) {
    const { catalog } = services.tenants
    const mine = caller.kind === 'user' ? tenantsOf(caller) : undefined
    const { idempotency_key: key } = input
    const runId =
      key === undefined ? input.run_id : await findRunIdByKey(catalog, caller.actor, key)
    if (runId === undefined) throw runNotFound()
    const upkeep = caller.kind === 'user' ? undefined : await findUpkeepRun(catalog, runId)
    if (upkeep !== undefined) {
      return { status: 200, body: { success: true, run: describeUpkeepRun(upkeep) } }
    }
    if (caller.kind === 'cron') {
      const run = await reportRun(catalog, runId)
      if (run.kind !== 'daily_tenant') throw runNotFound()
      return { status: 200, body: { success: true, run } }
    }
    const restore = await followRestoreRun(catalog, runId, mine)
    const seeding = caller.kind === 'operator' ? await findSeedRun(catalog, runId) : undefined
    const run =
      seeding !== undefined
        ? describeSeedRun(seeding, await readEvents<object>(catalog, runId, input.after))
        : restore === undefined
          ? await reportRun(catalog, runId, mine)
          : describeRestoreRun(restore, await readEvents(catalog, runId, input.after))
    return { status: 200, body: { success: true, run } }
  },
})
