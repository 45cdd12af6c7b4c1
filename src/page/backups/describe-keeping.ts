import type { Keep } from './read-keeping.ts'

/** What keeps a backup for as long as it is so, the strongest first; the others end on a day. */
const OPEN_ENDED: Readonly<Record<string, string>> = {
  hold: 'Kept until an operator lifts the hold',
  pinned: 'Kept until somebody unpins it',
  in_use: 'Kept while it is in use',
  newest_good: 'Kept as the newest good one',
  yearly: 'Kept as the one of its year',
  monthly: 'Kept as the one of its month',
  weekly: 'Kept as the one of its week',
  daily: 'Kept as the one of its day',
  last: 'Kept as one of the last ones',
  dated_in_future: 'Kept, as it is dated in the future',
  newest_unverified: 'Kept until the newest backup is verified',
  no_policy: 'Kept, as no usable rule says how long',
  elsewhere: 'Kept, as it lies in another place',
}

/** Nothing else matters while one of these holds. */
const LIFTED_BY_PEOPLE: readonly string[] = ['hold', 'pinned']

/** How long a backup is kept, in a few words; `until` is the day that they end with. */
export function describeKeeping({ isKept, reasons }: Keep): { text: string; until: Date | null } {
  if (!isKept) return { text: 'Goes with the next pruning', until: null }
  const codes = reasons.map(({ code }) => code)
  const strongest = Object.keys(OPEN_ENDED).find((code) => codes.includes(code))
  if (strongest !== undefined && LIFTED_BY_PEOPLE.includes(strongest)) {
    return { text: OPEN_ENDED[strongest] ?? '', until: null }
  }
  const ends = reasons.flatMap(({ until }) => until?.getTime() ?? [])
  if (ends.length === 0) return { text: OPEN_ENDED[strongest ?? ''] ?? 'Kept', until: null }
  const until = new Date(Math.max(...ends))
  return { text: strongest === undefined ? 'Kept until' : 'Kept at least until', until }
}
