/**
 * What another React application mounts: the page as a component, with the types of what it needs. The
 * host brings Mantine's style sheet (`@mantine/core/styles.css`) and ours (`tenantkeep/page.css`).
 */
import './theme.css'

export type { PageClient } from './calls/call-function.ts'
export { TenantBackupRestore, type TenantBackupRestoreProps } from './tenant-backup-restore.tsx'
