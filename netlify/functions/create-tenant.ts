import { createTenant } from '../../src/core/tenants/create-tenant.ts'
import { handle } from '../../src/http/handle.ts'
import {
  CreateTenantInput,
  describeCreated,
  requireOperator,
} from '../../src/http/tenant-answers.ts'

/** Makes a tenant: its own row and its defaults, all or nothing. */
export default handle({
  name: 'create-tenant',
  methods: ['POST'],
  input: CreateTenantInput,
  journal: 'create_tenant',
  allow: ['cron', 'operator', 'user'],
  async run({ services, caller, input }) {
    const { columns, tables, rows, manual_rows, decisions } = input
    await requireOperator(services.tenants.catalog, caller, {
      type: 'create_tenant',
      note: input.note,
      scope: { columns: Object.keys(columns), tables },
    })
    const created = await createTenant(services, {
      actor: caller.actor,
      columns,
      options: { tables, rows, manual_rows, decisions, mode: 'missing' },
      isDryRun: input.dry_run,
      note: input.note ?? null,
      idempotencyKey: input.idempotency_key,
    })
    return { status: 200, body: describeCreated(created) }
  },
})
