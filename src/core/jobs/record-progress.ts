import type { BackupProgress } from '../backup/take-backup.ts'
import type { Database } from '../database/database.ts'
import type { BackupJob } from './queue.ts'

const EVERY_MS = 1_000

/**
 * Keeps what a run last told, where `get-run` finds it; written at most once a second. Progress that can't
 * be written is lost, and the work goes on.
 */
export function keepProgress(database: Database, runId: string) {
  let latest: (() => object) | undefined
  let writing: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined

  const write = () => {
    timer = undefined
    writing = writing.then(async () => {
      await database
        .query('update tenantkeep.runs set progress = $2 where id = $1', [
          runId,
          JSON.stringify(latest?.() ?? {}),
        ])
        .catch(() => {})
    })
  }

  return {
    /** `describe` is asked when it is written, for what it says then. */
    report(describe: () => object) {
      latest = describe
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

/**
 * Keeps the progress of a manual backup in its run: the phase, the table at hand, and every table so far with
 * its rows. A daily run has its progress in the outcomes of its tenants.
 */
export function recordProgress(database: Database, job: BackupJob) {
  const tables = new Map<string, { rowsDone: number; rowsTotal: number }>()
  const kept = keepProgress(database, job.runId)
  return {
    report(progress: BackupProgress) {
      if (job.backupType !== 'manual') return
      const { table, rowsDone, rowsTotal } = progress
      if (table !== null) tables.set(table, { rowsDone, rowsTotal })
      kept.report(() => ({
        ...progress,
        tables: [...tables].map(([name, rows]) => ({ name, ...rows })),
      }))
    },
    finish: kept.finish,
  }
}
