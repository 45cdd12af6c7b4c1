import type { BackupProgress } from '../backup/take-backup.ts'
import type { Database } from '../database/database.ts'
import type { BackupJob } from './queue.ts'

const EVERY_MS = 1_000

/**
 * Writes the progress of a manual backup into its run, at most once a second, where `get-run` finds it: the
 * phase, the table at hand, and every table so far with its rows.
 * A daily run has its progress in the outcomes of its tenants. Progress that can't be written is lost,
 * and the backup goes on.
 */
export function recordProgress(database: Database, job: BackupJob) {
  let latest: BackupProgress | undefined
  const tables = new Map<string, { rowsDone: number; rowsTotal: number }>()
  let writing: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined

  const write = () => {
    timer = undefined
    const progress = {
      ...latest,
      tables: [...tables].map(([name, rows]) => ({ name, ...rows })),
    }
    writing = writing.then(async () => {
      await database
        .query('update tenantkeep.runs set progress = $2 where id = $1', [
          job.runId,
          JSON.stringify(progress),
        ])
        .catch(() => {})
    })
  }

  return {
    report(progress: BackupProgress) {
      if (job.backupType !== 'manual') return
      latest = progress
      const { table, rowsDone, rowsTotal } = progress
      if (table !== null) tables.set(table, { rowsDone, rowsTotal })
      timer ??= setTimeout(write, EVERY_MS)
    },
    /** Waits for what is being written; to be called before the run is settled. */
    async finish() {
      clearTimeout(timer)
      if (timer !== undefined) write()
      await writing
    },
  }
}
