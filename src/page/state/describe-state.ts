import type { Backup } from '../backups/read-backups.ts'
import { formatAge, formatAgo, formatDuration, formatPlural } from '../frame/format.ts'
import type { IconName } from '../frame/icons.tsx'
import type { State, StateCode } from './read-state.ts'

export type Tone = 'good' | 'look' | 'bad' | 'busy' | 'nothing'

/** Text with instants in it, which are set apart so that the page can show them in any zone. */
export type Words = readonly (string | Date | NearTime)[]

/** An instant that is named by its day where that is yesterday, today or tomorrow. */
interface NearTime {
  near: Date
}

export interface StateSentence {
  tone: Tone
  heading: string
  /** What stands behind the heading, a line each. */
  lines: Words[]
  /** What the one button that stands out does. */
  action: 'create' | 'create_now' | 'copy_tables' | 'progress' | 'none'
}

export const TONES: Record<Tone, { colour: string; icon: IconName }> = {
  good: { colour: 'green', icon: 'check' },
  look: { colour: 'yellow', icon: 'attention' },
  bad: { colour: 'red', icon: 'cross' },
  busy: { colour: 'blue', icon: 'running' },
  nothing: { colour: 'gray', icon: 'nothing' },
}

/** What a sentence is made from; the rest of the state is shown elsewhere. */
export type DescribedState = Pick<
  State,
  | 'state'
  | 'newestBackup'
  | 'newestAttempt'
  | 'nextExpectedAt'
  | 'lastProvenRestoreAt'
  | 'measuredRestoreMs'
  | 'failedDrill'
  | 'newestGoodTakenAt'
  | 'newestCopiedTakenAt'
  | 'running'
>

/** Puts into words what the server decided about a tenant's safety. */
export function describeState(state: DescribedState, now: Date): StateSentence {
  return SENTENCES[state.state.code](state, now)
}

const SENTENCES: Record<StateCode, (state: DescribedState, now: Date) => StateSentence> = {
  running: (state) => ({
    tone: 'busy',
    heading: 'A backup is running',
    lines: [
      [...describeStart(state), 'You can close this page; the backup goes on.'],
      describeNewest(state, 'The newest complete one is of '),
    ],
    action: 'progress',
  }),
  restoring: (state) => ({
    tone: 'busy',
    heading: state.running?.kind === 'undo' ? 'A restore is being undone' : 'A restore is running',
    lines: [
      [...describeStart(state), 'You can close this page; it goes on.'],
      ['Everything is written at once at the end, or not at all.'],
    ],
    action: 'progress',
  }),
  paused: (state) => ({
    tone: 'look',
    heading: 'Backups are paused',
    lines: [
      [
        ...(state.state.since === null ? [] : ['Since ', state.state.since, '. ']),
        ...(state.state.reason === null ? [] : [endSentence(state.state.reason)]),
      ],
      ['Backups that exist stay, and can be restored. Whoever runs this service can resume them.'],
    ],
    action: 'none',
  }),
  none: (state) => {
    const { reason, since } = state.state
    if (since !== null) {
      return {
        tone: 'bad',
        heading: 'The last backup failed, and there is no other',
        lines: [
          ['Failed ', { near: since }, `: ${endSentence(reason ?? 'no reason was recorded')}`],
          ['If it fails again, show this page to your administrator.'],
        ],
        action: 'create_now',
      }
    }
    return {
      tone: 'nothing',
      heading: 'No backup yet',
      lines: [
        state.nextExpectedAt === null
          ? ['Nothing is protected so far. You can take the first one now.']
          : [
              'The first one is expected ',
              { near: state.nextExpectedAt },
              '. You can take one now.',
            ],
      ],
      action: 'create',
    }
  },
  damaged: (state) => ({
    tone: 'bad',
    heading: 'The newest backup cannot be used',
    lines: [
      [
        ...(state.newestBackup === null ? ['It'] : ['The backup of ', takenAt(state.newestBackup)]),
        ' did not pass verification',
        ...(state.state.since === null ? [] : [' ', { near: state.state.since }]),
        state.state.reason === null ? '.' : `: ${endSentence(state.state.reason)}`,
      ],
      ['Your data is as it was. Take a new backup. ', ...describeNewestGood(state)],
    ],
    action: 'create_now',
  }),
  overdue: (state, now) => {
    const taken = state.newestBackup === null ? null : takenAt(state.newestBackup)
    const age = taken === null ? '' : ` for ${formatAge(now.getTime() - taken.getTime())}`
    const expected = state.nextExpectedAt
    return {
      tone: 'bad',
      heading: `No complete backup${age}`,
      lines: [
        [
          ...(expected === null || expected > now
            ? []
            : ['One was expected ', { near: expected }, ', and did not arrive. ']),
          ...(state.state.reason === null
            ? []
            : [`The last attempt failed: ${endSentence(state.state.reason)}`]),
        ],
        taken === null ? [] : ['Changes since ', taken, ' are not protected.'],
      ],
      action: 'create_now',
    }
  },
  last_failed: (state, now) => ({
    tone: 'look',
    heading: 'The last backup failed; the one before is fine',
    lines: [
      [
        ...(state.state.since === null ? [] : ['Failed ', { near: state.state.since }, ': ']),
        endSentence(state.state.reason ?? 'no reason was recorded'),
      ],
      state.newestBackup === null
        ? []
        : [
            `Newest complete backup: ${formatAge(now.getTime() - takenAt(state.newestBackup).getTime())} old (`,
            takenAt(state.newestBackup),
            ').',
          ],
    ],
    action: 'create',
  }),
  gaps: (state, now) => {
    const gaps = state.newestBackup?.gaps ?? []
    const isOne = gaps.length === 1
    return {
      tone: 'look',
      heading: `${describeAge(state, now)}, but ${formatPlural(gaps.length, 'table')} ${isOne ? 'is' : 'are'} missing from it`,
      lines: [
        [
          `Nobody has decided what is to happen with ${listNames(gaps)}. Everything else is complete.`,
        ],
        describeOutlook(state, now),
        describeProof(state),
      ],
      action: 'copy_tables',
    }
  },
  unverified: (state, now) =>
    describeBackedUp(state, now, { tone: 'busy', proof: 'not verified yet' }),
  verified: (state, now) => describeBackedUp(state, now, { tone: 'good', proof: 'verified' }),
}

function describeBackedUp(
  state: DescribedState,
  now: Date,
  { tone, proof }: { tone: Tone; proof: string },
): StateSentence {
  const age = describeAge(state, now)
  const hasFailedDrill = state.failedDrill !== null
  return {
    tone: hasFailedDrill ? 'look' : tone,
    heading: hasFailedDrill ? `${age}, but trying to restore found a problem` : age,
    lines: [describeEvidence(state, proof), describeOutlook(state, now), describeProof(state)],
    action: 'create',
  }
}

function describeAge({ newestBackup }: DescribedState, now: Date): string {
  return newestBackup === null ? 'Backed up' : `Backed up ${formatAgo(takenAt(newestBackup), now)}`
}

function describeEvidence(
  { newestBackup, newestCopiedTakenAt }: DescribedState,
  proof: string,
): Words {
  if (newestBackup === null) return []
  const rows = formatPlural(newestBackup.totalRecords ?? 0, 'row')
  const taken = takenAt(newestBackup)
  const copied: Words =
    newestCopiedTakenAt === null
      ? []
      : newestCopiedTakenAt.getTime() >= taken.getTime()
        ? [' · also in a second place']
        : [' · in a second place up to ', newestCopiedTakenAt]
  return [taken, ` · ${rows} · ${proof}`, ...copied]
}

function describeOutlook({ nextExpectedAt }: DescribedState, now: Date): Words {
  return nextExpectedAt === null
    ? []
    : [
        nextExpectedAt > now ? 'Next one expected ' : 'The next one was expected ',
        { near: nextExpectedAt },
      ]
}

/** That somebody tried whether a backup comes back, and how long that takes; or that it did not. */
function describeProof({
  lastProvenRestoreAt,
  measuredRestoreMs,
  failedDrill,
}: DescribedState): Words {
  if (failedDrill !== null) {
    const { at, takenAt, findings } = failedDrill
    return [
      ...(takenAt === null ? ['A backup'] : ['The backup of ', takenAt]),
      ' was loaded on trial ',
      { near: at },
      `, with ${formatPlural(findings, 'finding')}. Whoever runs this service sees what, and was told.`,
    ]
  }
  if (lastProvenRestoreAt === null) return []
  return [
    'Last proven restorable ',
    lastProvenRestoreAt,
    ...(measuredRestoreMs === null
      ? []
      : [` · restoring took ${formatDuration(measuredRestoreMs)}`]),
  ]
}

function describeNewestGood({ newestGoodTakenAt }: DescribedState): Words {
  return newestGoodTakenAt === null
    ? ['There is no other good one.']
    : ['The newest good one is of ', newestGoodTakenAt, '.']
}

function describeStart({ running }: DescribedState): Words {
  return running === null
    ? []
    : ['Started ', { near: running.startedAt }, ` by ${running.actorLabel}. `]
}

function describeNewest({ newestBackup }: DescribedState, before: string): Words {
  return newestBackup === null ? [] : [before, takenAt(newestBackup), '. ']
}

/** Reasons come with and without a full stop. */
function endSentence(text: string): string {
  return /[.!?…]$/.test(text.trim()) ? text.trim() : `${text.trim()}.`
}

function listNames(names: readonly string[]): string {
  return new Intl.ListFormat('en').format(names)
}

/** The instant a backup shows; before it has one, when it was begun. */
export function takenAt(backup: Pick<Backup, 'takenAt' | 'createdAt'>): Date {
  return backup.takenAt ?? backup.createdAt
}
