import { findBackup } from '../../src/core/backup/backup-record.ts'
import { describeDownload } from '../../src/core/backup/describe-download.ts'
import { recordExport } from '../../src/core/backup/record-export.ts'
import { BackupError } from '../../src/core/errors.ts'
import { requireTenantOfBackup } from '../../src/http/authorize.ts'
import { ExportInput } from '../../src/http/backup-answers.ts'
import { handle } from '../../src/http/handle.ts'

/** What a browser needs to make an archive of a backup by itself: short-lived URLs of its objects. */
export default handle({
  name: 'export-backup',
  methods: ['POST'],
  input: ExportInput,
  allow: ['operator', 'user'],
  async run({ services, caller, input }) {
    const { catalog } = services.tenants
    const tenantId = await requireTenantOfBackup(catalog, caller, input.backup_id)
    await recordExport(catalog, { backupId: input.backup_id, actor: caller.actor })
    const backup = await findBackup(catalog, input.backup_id)
    if (backup?.organizationId !== tenantId) {
      throw new BackupError('backup_not_found', 'There is no such backup among yours.')
    }
    const download = await describeDownload(services, backup)
    const { actor } = caller
    services.log.info({ backup_id: backup.id, tenant_id: tenantId, user_id: actor.id }, 'exported')
    return { status: 200, body: { success: true, ...download } }
  },
})
