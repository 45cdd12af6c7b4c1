import { z } from 'zod'
import { readEvents } from '../../src/core/jobs/record-events.ts'
import { describeRestoreRun } from '../../src/core/jobs/report-restore.ts'
import { reportRun } from '../../src/core/jobs/report-run.ts'
import { followRestoreRun } from '../../src/core/jobs/settle-restore.ts'
import { tenantsOf } from '../../src/http/authorize.ts'
import { handle } from '../../src/http/handle.ts'

/**
 * How a run stands: of backups its outcome per tenant and the progress of a manual one; of a restore its
 * progress, its events after a given one, and its result. Owners see their own tenants.
 */
export default handle({
  name: 'get-run',
  methods: ['GET', 'POST'],
  input: z.strictObject({
    run_id: z.uuid(),
    /** Events of a restore with a greater `seq` than this. */
    after: z.coerce.number().int().min(0).default(0),
  }),
  allow: ['operator', 'user'],
  async run({ services, caller, input }) {
    const { catalog } = services.tenants
    const mine = caller.kind === 'user' ? tenantsOf(caller) : undefined
    const restore = await followRestoreRun(catalog, input.run_id, mine)
    const run =
      restore === undefined
        ? await reportRun(catalog, input.run_id, mine)
        : describeRestoreRun(restore, await readEvents(catalog, input.run_id, input.after))
    return { status: 200, body: { success: true, run } }
  },
})
