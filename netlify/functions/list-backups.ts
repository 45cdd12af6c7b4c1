import { findCopied, listBackups } from '../../src/core/backup/list-backups.ts'
import { explainKeeping } from '../../src/core/retention/explain-keeping.ts'
import { onlyTenantOf, requireTenant } from '../../src/http/authorize.ts'
import { describeBackup, describeKeeping, ListInput } from '../../src/http/backup-answers.ts'
import { handle } from '../../src/http/handle.ts'

/**
 * Backups, newest first, a page at a time: of one's own organization, or for operators of any or all. Those of
 * one organization say how long each is kept, and why.
 */
export default handle({
  name: 'list-backups',
  methods: ['GET', 'POST'],
  input: ListInput,
  allow: ['operator', 'user'],
  async run({ services, caller, input }) {
    const { catalog } = services.tenants
    const asked =
      input.organization_id ?? (caller.kind === 'user' ? onlyTenantOf(caller) : undefined)
    const tenant = asked === undefined ? undefined : await requireTenant(catalog, caller, asked)
    const { backups, nextCursor } = await listBackups(catalog, {
      ...(tenant === undefined ? {} : { tenantId: tenant.id }),
      ...(input.status === undefined ? {} : { statuses: input.status }),
      ...(input.backup_type === undefined ? {} : { backupTypes: input.backup_type }),
      ...(input.from_date === undefined ? {} : { fromDate: input.from_date }),
      ...(input.to_date === undefined ? {} : { toDate: input.to_date }),
      ...(input.cursor === undefined ? {} : { cursor: input.cursor }),
      ...(input.backup_ids === undefined ? {} : { ids: input.backup_ids }),
      limit: input.limit,
    })
    const copied = await findCopied(
      catalog,
      backups.map(({ id }) => id),
    )
    const keeping = tenant === undefined ? null : await explainKeeping(services, tenant.id)
    const body = {
      success: true,
      // Whose list it is, for a page that knows only who is signed in; null for one over all.
      organization: tenant ?? null,
      backups: backups.map((backup) => ({
        ...describeBackup(backup),
        keep: describeKeeping(keeping?.get(backup.id)),
        is_copied: copied.has(backup.id),
      })),
      next_cursor: nextCursor,
    }
    return { status: 200, body }
  },
})
