import { RequestFailed } from '../calls/call-function.ts'

export interface FailureWords {
  title: string
  text: string
  /** `look`: it can be put right here. */
  tone: 'bad' | 'look'
}

/** In words for operators; null where the page's own words fit. */
export function describeDefaultsFailure(
  error: unknown,
  what: string,
  isBadInput = false,
): FailureWords | null {
  if (!(error instanceof RequestFailed)) return null
  switch (error.code) {
    case 'invalid_request':
      return {
        title: isBadInput ? 'Some values do not fit' : what,
        text: isBadInput
          ? 'Nothing was written. The fields below say which, and why.'
          : error.message,
        tone: 'look',
      }
    case 'offline':
      return {
        title: 'No connection',
        text: 'The service did not answer, so it is not known whether this arrived. What you entered is still here: press again, and it is done once.',
        tone: 'bad',
      }
    case 'not_signed_in':
      return {
        title: 'You were signed out',
        text: 'Nothing was written. What you entered is still here: sign in, then press again.',
        tone: 'bad',
      }
    case 'not_allowed':
      return {
        title: 'You have no right to do this',
        text: 'Only operators change defaults and seed tenants. Nothing was written, and what you entered is still here.',
        tone: 'bad',
      }
    case 'tenant_busy':
    case 'table_busy':
    case 'table_locked':
    case 'tenant_changing':
      return {
        title: 'Somebody else is at work on this tenant',
        text: 'A backup, a restore or a seeding is under way. Nothing was written, and what you entered is still here: try again in a moment.',
        tone: 'look',
      }
    case 'not_configured':
    case 'tenant_not_found':
      return { title: what, text: error.message, tone: 'bad' }
    default:
      return null
  }
}
