/** What is drawn over the page, in one file that is loaded on demand (`load-overlays.ts`). */
export { BackupDialog } from './backup-dialog.tsx'
export { BackupMenu } from './backup-menu.tsx'
export { CreateBackupDialog } from './create-backup-dialog.tsx'
