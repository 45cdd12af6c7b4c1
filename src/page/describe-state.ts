import { formatAge, formatAgo, formatPlural } from './format.ts'
import type { IconName } from './icons.tsx'
import type { Backup } from './read-backups.ts'

/** What decides the sentence at the top of the page. */
export interface TenantState {
  /** Safety backups never count. */
  newestComplete: Backup | null
  /** The newest of whatever status, safety backups left out. */
  newestAttempt: Backup | null
}

export type Tone = 'good' | 'look' | 'bad' | 'busy' | 'nothing'

export interface StateSentence {
  tone: Tone
  heading: string
  /** What stands behind the heading; times are set apart so that the page can show them in any zone. */
  evidence: string[]
  /** The instant that the evidence is about. */
  at: Date | null
  /** What to do about it. */
  advice: string | null
}

export const TONES: Record<Tone, { colour: string; icon: IconName }> = {
  good: { colour: 'green', icon: 'check' },
  look: { colour: 'yellow', icon: 'attention' },
  bad: { colour: 'red', icon: 'cross' },
  busy: { colour: 'blue', icon: 'running' },
  nothing: { colour: 'gray', icon: 'nothing' },
}

/** A day, and two hours for a daily run that is late or long. */
const OVERDUE_MS = 26 * 3_600_000
/** A backup that still runs after this most likely lost its process. */
const STUCK_MS = 20 * 60_000

/** Says in one sentence whether a tenant's data is safe. What runs goes first, then the worst. */
export function describeState(
  { newestComplete, newestAttempt }: TenantState,
  now: Date,
): StateSentence {
  const age = newestComplete === null ? null : now.getTime() - takenAt(newestComplete).getTime()
  const isOverdue = age !== null && age > OVERDUE_MS
  const hasFailed = newestAttempt?.status === 'failed' || newestAttempt?.status === 'cancelled'
  const reason = hasFailed ? (newestAttempt.errorMessage ?? 'No reason was recorded.') : null

  if (newestAttempt?.status === 'running') {
    const isStuck = now.getTime() - newestAttempt.createdAt.getTime() > STUCK_MS
    if (!isStuck) {
      return {
        tone: 'busy',
        heading: 'A backup is running',
        evidence: [
          newestComplete === null
            ? 'It is the first one.'
            : `The newest complete one is ${formatAge(age ?? 0)} old.`,
        ],
        at: newestAttempt.createdAt,
        advice: 'You can close this page; the backup goes on.',
      }
    }
  }
  if (newestComplete === null) {
    return reason === null
      ? {
          tone: 'nothing',
          heading: 'No backup yet',
          evidence: ['Nothing of this tenant is protected so far.'],
          at: null,
          advice: 'Create the first backup now. Later ones are taken every day.',
        }
      : {
          tone: 'bad',
          heading: 'The last backup failed, and there is no other',
          evidence: [reason],
          at: newestAttempt?.createdAt ?? null,
          advice: 'Create a backup now. If it fails again, show this page to your administrator.',
        }
  }
  if (isOverdue) {
    return {
      tone: 'bad',
      heading: `No complete backup for ${formatAge(age)}`,
      evidence: [
        'Changes made since the newest complete backup are not protected.',
        ...(reason === null ? [] : [`The last attempt failed: ${reason}`]),
      ],
      at: takenAt(newestComplete),
      advice:
        'Create a backup now, and ask your administrator why the daily one did not come: it should have been here by now.',
    }
  }
  const rows = formatPlural(newestComplete.totalRecords ?? 0, 'row')
  if (hasFailed) {
    return {
      tone: 'look',
      heading: 'The last backup failed; the one before is fine',
      evidence: [reason ?? '', `The newest complete backup is ${formatAge(age ?? 0)} old.`],
      at: newestAttempt.createdAt,
      advice: 'Create a backup now to be up to date.',
    }
  }
  const heading = `Backed up ${formatAgo(takenAt(newestComplete), now)}`
  if (newestComplete.gaps.length > 0) {
    const missing = formatPlural(newestComplete.gaps.length, 'table')
    return {
      tone: 'look',
      heading: `${heading}, but ${missing} ${newestComplete.gaps.length === 1 ? 'is' : 'are'} missing from it`,
      evidence: [
        `Nobody has decided yet what is to happen with ${newestComplete.gaps.join(', ')}.`,
        'Everything else is complete and verified.',
      ],
      at: takenAt(newestComplete),
      advice: 'Give your administrator the names of these tables.',
    }
  }
  return {
    tone: 'good',
    heading,
    evidence: [rows, newestComplete.verifiedAt === null ? 'not verified' : 'verified'],
    at: takenAt(newestComplete),
    advice: null,
  }
}

/** The instant a backup shows; before it has one, when it was begun. */
export function takenAt(backup: Pick<Backup, 'takenAt' | 'createdAt'>): Date {
  return backup.takenAt ?? backup.createdAt
}
