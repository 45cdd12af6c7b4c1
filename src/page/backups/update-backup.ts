import { callFunction, type PageServices } from '../calls/call-function.ts'

/** What people say about a backup. What is missing stays as it is; null takes it away. */
export interface BackupChange {
  name?: string | null
  note?: string | null
  tags?: string[]
  /** Keeps it from being pruned, for this reason; null lets it go. */
  pin?: { reason: string } | null
}

/** What the function accepts. */
export const MAX_PIN_REASON = 500

/** Changes name, note, tags or pin of a backup. Throws `RequestFailed`. */
export async function updateBackup(
  services: PageServices,
  backupId: string,
  change: BackupChange,
): Promise<void> {
  await callFunction(services, 'update-backup', { backup_id: backupId, ...change })
}
