import { resumeTenant } from '../../src/core/tenants/pause-tenant.ts'
import { requireTenant } from '../../src/http/authorize.ts'
import { handle } from '../../src/http/handle.ts'
import { answerPause, ResumeInput } from '../../src/http/pause-answers.ts'

/** The daily backups of a paused tenant go on; operators only. */
export default handle({
  name: 'resume-tenant',
  methods: ['POST'],
  input: ResumeInput,
  allow: ['operator'],
  async run({ services, caller, input }) {
    const { id: tenantId } = await requireTenant(
      services.tenants.catalog,
      caller,
      input.organization_id,
    )
    const note = input.note ?? null
    return answerPause(await resumeTenant(services, { tenantId, note, actor: caller.actor }))
  },
})
