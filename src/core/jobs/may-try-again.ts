import { BackupError } from '../errors.ts'
import type { ClaimedJob, JobQueue } from './queue.ts'

/** An attempt that failed with an error which may pass is repeated up to this many times in all. */
const MAX_ATTEMPTS = 4

/** Whether a job whose attempt failed with an error that may pass gets another. */
export function mayTryAgain(queue: JobQueue, claimed: ClaimedJob, code: string): boolean {
  if (!queue.hasAttemptsLeft(claimed)) return false
  // A tenant that is being restored may be busy for long, and who stops a process means no tenant. Running
  // out of time does count: a tenant that never fits must end as failed, with that reason.
  if (code === 'tenant_busy' || code === 'backup_cancelled') return true
  return claimed.retryCount + 1 < MAX_ATTEMPTS
}

/** What is recorded of an error that ended an attempt; of an unknown one the log has more. */
export function describeFailure(error: unknown): {
  code: string
  message: string
  canRetry: boolean
} {
  if (error instanceof BackupError) {
    return { code: error.code, message: error.message, canRetry: error.canRetry }
  }
  return {
    code: 'internal',
    message: 'An unexpected error ended it; the log of the functions has it.',
    canRetry: false,
  }
}
