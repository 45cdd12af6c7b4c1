import type { RetentionPolicy, TenantPolicy } from './retention-policy.ts'

/** What has to be known of a complete backup to say whether it is kept. */
export interface RetainableBackup {
  id: string
  backupType: 'daily_tenant' | 'manual' | 'pre_restore'
  /** The instant of its rows, by the database's clock. */
  takenAt: Date
  /** When our own row of it was made: this is what its age is counted from. */
  recordedAt: Date
  /** Read back whole when it was made and not found damaged since. */
  isGood: boolean
  tags: readonly string[]
  /** Who keeps it from being pruned. A pin of anybody but a user is a hold. */
  pin: { isHold: boolean; by: string; reason: string } | null
  /** What works with it at this moment, in words; null for nothing. */
  usedBy: string | null
  /** The store it lies in is not one that this process has open. */
  isElsewhere: boolean
}

export interface RetentionFacts {
  policy: TenantPolicy
  safetyDays: number
  /** The tenant is none of the host's any more; its backups go whole after so many days. */
  departed: { since: Date; days: number } | null
  /** Whatever was taken before that moment was erased on somebody's demand. */
  forgottenAt: Date | null
  now: Date
}

type KeepCode =
  | 'pinned'
  | 'hold'
  | 'newest_good'
  | 'newest_unverified'
  | 'today'
  | 'safety_window'
  | 'in_use'
  | 'elsewhere'
  | 'dated_in_future'
  | 'departed_waiting'
  | 'no_policy'
  | keyof RetentionPolicy
type ExpireCode = 'past_policy' | 'safety_window_over' | 'departed' | 'forgotten'

export interface RetentionReason<Code extends string = KeepCode | ExpireCode> {
  code: Code
  message: string
  /** When it keeps the backup no longer, where that is certain today. */
  until?: Date
}

/** `reasons` are why it is kept (all that hold), or the one why it goes. */
export type RetentionDecision =
  | { backupId: string; isKept: true; reasons: RetentionReason<KeepCode>[] }
  | { backupId: string; isKept: false; reasons: RetentionReason<ExpireCode>[] }

const DAY_MS = 86_400_000

/**
 * Says of every complete backup of one tenant whether it is kept, and why. Times are UTC and our server's.
 * Rules that count look at good daily and manual ones alone, and at nothing dated in the future, so that
 * backups somebody forged don't push out others; one of a day, week, month or year is a daily one where
 * there is any, so that a manual one of the same day doesn't take its place. Has no effects.
 */
export function decideRetention(
  backups: readonly RetainableBackup[],
  facts: RetentionFacts,
): RetentionDecision[] {
  const { departed, forgottenAt, now } = facts
  const reasons = new Map<string, RetentionReason<KeepCode>[]>(backups.map(({ id }) => [id, []]))
  const keep: Keep = (id, code, message, until) =>
    reasons.get(id)?.push({ code, message, ...(until === undefined ? {} : { until }) })

  for (const backup of backups) keepByItself(backup, facts, keep)
  const departedUntil = departed === null ? null : addDays(departed.since, departed.days)
  if (departedUntil === null) {
    keepNewest(backups, now, keep)
    if (facts.policy.policy !== null) keepByPolicy(backups, facts.policy.policy, now, keep)
  } else if (departedUntil > now) {
    for (const { id } of backups) {
      keep(
        id,
        'departed_waiting',
        `The tenant left the application; everything is kept until ${dayOf(departedUntil)}.`,
        departedUntil,
      )
    }
  }
  if (facts.policy.policy === null) {
    for (const { id } of backups) keep(id, 'no_policy', facts.policy.problem ?? 'No policy is set.')
  }

  return backups.map((backup): RetentionDecision => {
    const kept = reasons.get(backup.id) ?? []
    if (forgottenAt !== null && backup.takenAt <= forgottenAt) {
      // Nothing but work under way and a closed store puts an erasure off.
      const busy = kept.filter(({ code }) => code === 'in_use' || code === 'elsewhere')
      if (busy.length > 0) return { backupId: backup.id, isKept: true, reasons: busy }
      return expire(backup, 'forgotten', `The tenant was forgotten on ${dayOf(forgottenAt)}.`)
    }
    if (kept.length > 0) return { backupId: backup.id, isKept: true, reasons: kept }
    if (departedUntil !== null) {
      return expire(
        backup,
        'departed',
        `The tenant left the application, and its backups were kept until ${dayOf(departedUntil)}.`,
      )
    }
    return backup.backupType === 'pre_restore'
      ? expire(
          backup,
          'safety_window_over',
          `It is a safety backup, and those are kept for ${facts.safetyDays} days.`,
        )
      : expire(backup, 'past_policy', 'No rule of the retention policy keeps it.')
  })
}

type Keep = (id: string, code: KeepCode, message: string, until?: Date) => void

/** What one can say of a backup without looking at the others. */
function keepByItself(backup: RetainableBackup, facts: RetentionFacts, keep: Keep): void {
  const { id, pin, recordedAt } = backup
  const { now, departed, safetyDays } = facts
  if (pin?.isHold === true) keep(id, 'hold', `${pin.by} holds it: ${pin.reason}`)
  // Whoever pinned it left with the tenant.
  if (pin?.isHold === false && departed === null) {
    keep(id, 'pinned', `${pin.by} pinned it: ${pin.reason}`)
  }
  if (backup.usedBy !== null) keep(id, 'in_use', `It is in use: ${backup.usedBy}.`)
  if (backup.isElsewhere) {
    keep(id, 'elsewhere', 'It lies in a store that is not set up here, so it can’t be removed.')
  }
  if (departed !== null) return
  if (isFuture(backup, now)) {
    keep(
      id,
      'dated_in_future',
      'It is dated in the future: a clock was wrong. Look at it, then pin or remove it by hand.',
    )
  }
  if (backup.backupType === 'pre_restore') {
    const until = addDays(recordedAt, safetyDays)
    if (until > now) {
      keep(id, 'safety_window', `The restore can be undone until ${dayOf(until)}.`, until)
    }
  } else if (dayOf(recordedAt) === dayOf(now)) {
    keep(id, 'today', 'It was taken today.', startOfNextDay(now))
  }
}

function keepNewest(backups: readonly RetainableBackup[], now: Date, keep: Keep): void {
  const counted = newestFirst(
    backups.filter((backup) => backup.backupType !== 'pre_restore' && !isFuture(backup, now)),
  )
  const [newest] = counted
  if (newest?.isGood === true) {
    keep(newest.id, 'newest_good', 'It is the newest one that is known to be whole.')
    return
  }
  const good = counted.find((backup) => backup.isGood)
  if (good !== undefined) {
    keep(good.id, 'newest_good', 'It is the newest one that is known to be whole.')
  }
  for (const { id } of backups) {
    keep(
      id,
      'newest_unverified',
      'The newest backup of this tenant is not known to be whole, so nothing is removed.',
    )
  }
}

const PERIODS = {
  daily: { of: dayOf, word: 'days' },
  weekly: { of: weekOf, word: 'weeks' },
  monthly: { of: (at: Date) => dayOf(at).slice(0, 7), word: 'months' },
  yearly: { of: (at: Date) => dayOf(at).slice(0, 4), word: 'years' },
} as const

function keepByPolicy(
  backups: readonly RetainableBackup[],
  policy: RetentionPolicy,
  now: Date,
  keep: Keep,
): void {
  for (const { id, backupType, recordedAt, tags } of backups) {
    const youngUntil = (days: number | undefined) => {
      const until = days === undefined ? now : addDays(recordedAt, days)
      return until > now ? until : undefined
    }
    const withinUntil = backupType === 'pre_restore' ? undefined : youngUntil(policy.within_days)
    if (withinUntil !== undefined) {
      keep(id, 'within_days', `It is younger than ${policy.within_days} days.`, withinUntil)
    }
    for (const tag of tags) {
      const days = Object.hasOwn(policy.tags ?? {}, tag) ? policy.tags?.[tag] : undefined
      const until = youngUntil(days)
      if (until !== undefined) {
        keep(id, 'tags', `It carries the tag «${tag}» and is younger than ${days} days.`, until)
      }
    }
  }

  const counted = newestFirst(
    backups.filter(
      (backup) => backup.backupType !== 'pre_restore' && backup.isGood && !isFuture(backup, now),
    ),
  )
  const last = policy.last ?? 0
  for (const type of ['daily_tenant', 'manual'] as const) {
    const word = type === 'manual' ? 'manual' : 'daily'
    for (const { id } of counted.filter(({ backupType }) => backupType === type).slice(0, last)) {
      keep(id, 'last', `It is one of the last ${last} ${word} ones.`)
    }
  }
  for (const rule of ['daily', 'weekly', 'monthly', 'yearly'] as const) {
    const number = policy[rule] ?? 0
    const { of, word } = PERIODS[rule]
    const periods = new Map<string, RetainableBackup>()
    for (const backup of counted) {
      const period = of(backup.takenAt)
      const chosen = periods.get(period)
      if (chosen === undefined && periods.size === number) break
      const isBetter = chosen?.backupType === 'manual' && backup.backupType === 'daily_tenant'
      if (chosen === undefined || isBetter) periods.set(period, backup)
    }
    for (const [period, { id }] of periods) {
      keep(id, rule, `It stands for ${period}, one of the last ${number} ${word} with a backup.`)
    }
  }
}

function isFuture({ takenAt, recordedAt }: RetainableBackup, now: Date): boolean {
  return takenAt > now || recordedAt > now
}

/** Of two of the same instant always the same one, however they are given. */
function newestFirst(backups: readonly RetainableBackup[]): RetainableBackup[] {
  return backups.toSorted(
    (a, b) => b.takenAt.getTime() - a.takenAt.getTime() || (a.id < b.id ? 1 : -1),
  )
}

function addDays(at: Date, days: number): Date {
  return new Date(at.getTime() + days * DAY_MS)
}

function startOfNextDay(at: Date): Date {
  return new Date(`${dayOf(addDays(at, 1))}T00:00:00Z`)
}

/** `2026-11-21`, UTC. */
function dayOf(at: Date): string {
  return at.toISOString().slice(0, 10)
}

/** The ISO week, `2026-W53`: it belongs to the year that its Thursday is in. */
function weekOf(at: Date): string {
  const thursday = addDays(at, 4 - (at.getUTCDay() || 7))
  const year = thursday.getUTCFullYear()
  const week = Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / (7 * DAY_MS)) + 1
  return `${year}-W${String(week).padStart(2, '0')}`
}

function expire({ id }: RetainableBackup, code: ExpireCode, message: string): RetentionDecision {
  return { backupId: id, isKept: false, reasons: [{ code, message }] }
}
