import { updateBackup } from '../../src/core/backup/update-backup.ts'
import { requireTenantOfBackup } from '../../src/http/authorize.ts'
import { describeBackup, UpdateInput } from '../../src/http/backup-answers.ts'
import { handle } from '../../src/http/handle.ts'

/** Changes name, note, tags or pin of a backup. A pin needs a reason; an operator's is the operators' to lift. */
export default handle({
  name: 'update-backup',
  methods: ['POST'],
  input: UpdateInput,
  allow: ['operator', 'user'],
  async run({ services, caller, input }) {
    const { backup_id: backupId, name, note, tags, pin } = input
    const tenantId = await requireTenantOfBackup(services.tenants.catalog, caller, backupId)
    const backup = await updateBackup(services, {
      backupId,
      tenantId,
      actor: caller.actor,
      ...(name === undefined ? {} : { name }),
      ...(note === undefined ? {} : { note }),
      ...(tags === undefined ? {} : { tags }),
      ...(pin === undefined ? {} : { pin }),
    })
    return { status: 200, body: { success: true, backup: describeBackup(backup) } }
  },
})
