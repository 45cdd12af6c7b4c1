import { RequestFailed } from '../calls/call-function.ts'

export interface ErrorWords {
  title: string
  /** What it means for the data, and what to do. */
  text: string
  requestId: string | undefined
}

const WORDS: Record<string, { title: string; text: string }> = {
  offline: {
    title: 'No connection',
    text: 'The service did not answer. What is running goes on; your backups are not affected. Check your connection and try again.',
  },
  not_signed_in: {
    title: 'You were signed out',
    text: 'Sign in again to go on. What is running goes on.',
  },
  tenant_busy: {
    title: 'A backup is already running',
    text: 'Yours was not started. Wait until the other one is done, then try again.',
  },
  not_allowed: {
    title: 'You have no right to do this',
    text: 'Only owners and admins can see and create backups. Nothing was started.',
  },
  tenant_not_found: {
    title: 'This account is not known here',
    text: 'Ask an owner or admin of your organization to check your membership.',
  },
  database_unavailable: {
    title: 'The database could not be reached',
    text: 'Your existing backups are not affected. Try again in a few minutes.',
  },
  store_unavailable: {
    title: 'The storage for backups could not be reached',
    text: 'Your existing backups are not affected. Try again in a few minutes.',
  },
  bucket_missing: {
    title: 'The storage for backups is not set up',
    text: 'Nothing was started. Ask your administrator to set it up.',
  },
  bucket_public: {
    title: 'The storage for backups is open to everybody',
    text: 'No backup is taken until your administrator makes it private.',
  },
  unexpected_answer: {
    title: 'The service gave an answer that this page does not know',
    text: 'Your backups are not affected. Reload the page; if it happens again, tell your administrator.',
  },
}

/** Puts a failure into words for the owner of a tenant. `what` is the headline where the code says little. */
export function describeError(error: unknown, what: string): ErrorWords {
  if (!(error instanceof RequestFailed)) {
    return {
      title: what,
      text: 'Something failed that we do not know. Your backups are not affected. Try again.',
      requestId: undefined,
    }
  }
  const words = WORDS[error.code]
  return {
    title: words?.title ?? what,
    text: words?.text ?? error.message,
    requestId: error.requestId,
  }
}
