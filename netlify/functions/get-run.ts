import { z } from 'zod'
import { reportRun } from '../../src/core/jobs/report-run.ts'
import { tenantsOf } from '../../src/http/authorize.ts'
import { handle } from '../../src/http/handle.ts'

/** How a run stands: its outcome per tenant, and the progress of a manual backup. Owners see their own tenants. */
export default handle({
  name: 'get-run',
  methods: ['GET', 'POST'],
  input: z.strictObject({ run_id: z.uuid() }),
  allow: ['operator', 'user'],
  async run({ services, caller, input }) {
    const mine = caller.kind === 'user' ? tenantsOf(caller) : undefined
    const run = await reportRun(services.tenants.catalog, input.run_id, mine)
    return { status: 200, body: { success: true, run } }
  },
})
