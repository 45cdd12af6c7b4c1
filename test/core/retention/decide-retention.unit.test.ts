import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import {
  decideRetention,
  type RetainableBackup,
  type RetentionFacts,
} from '../../../src/core/retention/decide-retention.ts'
import { parsePolicy, type RetentionPolicy } from '../../../src/core/retention/retention-policy.ts'

const NOW = new Date('2026-11-21T12:00:00Z')
const DAY_MS = 86_400_000

let made = 0
function backup(at: string | Date, more: Partial<RetainableBackup> = {}): RetainableBackup {
  const takenAt = new Date(at)
  made += 1
  return {
    id: `b-${String(made).padStart(6, '0')}`,
    backupType: 'daily_tenant',
    takenAt,
    recordedAt: takenAt,
    isGood: true,
    tags: [],
    pin: null,
    usedBy: null,
    isElsewhere: false,
    ...more,
  }
}

function facts(policy: RetentionPolicy, more: Partial<RetentionFacts> = {}): RetentionFacts {
  return {
    policy: { source: 'tenant', policy, problem: null },
    safetyDays: 30,
    departed: null,
    forgottenAt: null,
    now: NOW,
    ...more,
  }
}

/** The instants of those that stay, as they were given, with the codes of their reasons. */
function kept(backups: readonly RetainableBackup[], given: RetentionFacts): string[] {
  const byId = new Map(backups.map((it) => [it.id, it]))
  return decideRetention(backups, given)
    .filter(({ isKept }) => isKept)
    .map(({ backupId, reasons }) => {
      const at = byId.get(backupId)?.takenAt.toISOString() ?? ''
      return `${at.slice(0, 16)} ${reasons.map(({ code }) => code).join(' ')}`
    })
}

const keptIds = (backups: readonly RetainableBackup[], given: RetentionFacts) =>
  new Set(
    decideRetention(backups, given)
      .filter(({ isKept }) => isKept)
      .map(({ backupId }) => backupId),
  )

test.each<[string, RetentionPolicy, string[], string[]]>([
  [
    'thirty days end to the millisecond',
    { within_days: 30 },
    ['2026-11-20T01:00Z', '2026-10-22T12:00:00.001Z', '2026-10-22T12:00Z'],
    ['2026-11-20T01:00 newest_good within_days', '2026-10-22T12:00 within_days'],
  ],
  [
    'months: the last one of each that has one, also where months are short or missing',
    { monthly: 4 },
    [
      '2026-11-20T01:00Z',
      '2026-10-31T23:59:59.999Z',
      '2026-10-31T00:00Z',
      '2026-08-31T01:00Z',
      '2026-02-28T23:00Z',
      '2026-02-01T01:00Z',
      '2026-01-31T01:00Z',
    ],
    [
      '2026-11-20T01:00 newest_good monthly',
      '2026-10-31T23:59 monthly',
      '2026-08-31T01:00 monthly',
      '2026-02-28T23:00 monthly',
    ],
  ],
  [
    'a leap day is a day of February',
    { daily: 3, monthly: 2 },
    [
      '2024-03-01T00:00Z',
      '2024-02-29T23:59Z',
      '2024-02-29T00:00Z',
      '2024-02-28T23:59Z',
      '2024-01-31T00:00Z',
    ],
    [
      '2024-03-01T00:00 newest_good daily monthly',
      '2024-02-29T23:59 daily monthly',
      '2024-02-28T23:59 daily',
    ],
  ],
  [
    'week 53: the days around the new year of 2021 are one week, whose year is 2020',
    { weekly: 2 },
    [
      '2021-01-04T00:00Z',
      '2021-01-03T23:59Z',
      '2021-01-01T12:00Z',
      '2020-12-28T00:00Z',
      '2020-12-27T23:59Z',
    ],
    ['2021-01-04T00:00 newest_good weekly', '2021-01-03T23:59 weekly'],
  ],
  [
    'week 1: the last days of 2024 belong to 2025',
    { weekly: 2 },
    [
      '2025-01-05T23:59Z',
      '2025-01-01T00:00Z',
      '2024-12-30T00:00Z',
      '2024-12-29T23:59Z',
      '2024-12-29T00:00Z',
    ],
    ['2025-01-05T23:59 newest_good weekly', '2024-12-29T23:59 weekly'],
  ],
  [
    'years with gaps',
    { yearly: 3 },
    [
      '2026-11-20T01:00Z',
      '2026-01-01T00:00Z',
      '2024-12-31T23:59Z',
      '2019-05-05T01:00Z',
      '2018-05-05T01:00Z',
    ],
    ['2026-11-20T01:00 newest_good yearly', '2024-12-31T23:59 yearly', '2019-05-05T01:00 yearly'],
  ],
  [
    'several a day, in the hour that a clock change repeats or leaves out',
    { daily: 2 },
    [
      '2026-10-25T01:30Z',
      '2026-10-25T00:30Z',
      '2026-03-29T01:30Z',
      '2026-03-29T00:30Z',
      '2026-03-28T23:30Z',
    ],
    ['2026-10-25T01:30 newest_good daily', '2026-03-29T01:30 daily'],
  ],
  [
    'rules add up',
    { last: 1, yearly: 2 },
    ['2026-11-20T01:00Z', '2026-11-19T01:00Z', '2025-03-01T01:00Z', '2024-03-01T01:00Z'],
    ['2026-11-20T01:00 newest_good last yearly', '2025-03-01T01:00 yearly'],
  ],
])('%s', (_, policy, instants, expected) => {
  expect(
    kept(
      instants.map((at) => backup(at)),
      facts(policy),
    ),
  ).toEqual(expected)
})

const zone = process.env.TZ
afterEach(() => {
  if (zone === undefined) delete process.env.TZ
  else process.env.TZ = zone
})

test.each(['Pacific/Kiritimati', 'America/New_York', 'Asia/Kathmandu'])(
  'the zone of the machine, %s, changes nothing',
  (name) => {
    const backups = Array.from({ length: 200 }, (_, hours) =>
      backup(new Date(NOW.getTime() - hours * 5 * 3_600_000)),
    )
    const policy = { daily: 5, weekly: 3, monthly: 2 }
    const utc = kept(backups, facts(policy))

    process.env.TZ = name

    expect(new Date(2026, 6, 1).getTimezoneOffset()).not.toBe(0)
    expect(kept(backups, facts(policy))).toEqual(utc)
  },
)

test('newer ones that are forged, damaged, dated in the future or manual push out none that is counted', () => {
  const good = ['2026-11-20T01:00Z', '2026-11-19T01:00Z', '2026-11-18T01:00Z'].map((at) =>
    backup(at),
  )
  const policy = { last: 2, daily: 2 }
  const before = keptIds(good, facts(policy))

  const forged = [
    backup('2027-01-01T01:00Z'),
    backup('2026-11-20T09:00Z', { recordedAt: new Date('2026-11-22T00:00Z') }),
    backup('2026-11-20T05:00Z', { backupType: 'pre_restore' }),
    backup('2026-11-19T22:00Z', { isGood: false }),
    ...Array.from({ length: 50 }, (_, i) =>
      backup(new Date(Date.parse('2026-11-20T00:30Z') + i), { backupType: 'manual' }),
    ),
  ]
  const after = keptIds([...good, ...forged], facts(policy))

  expect([...before].filter((id) => !after.has(id))).toEqual([])
  expect(kept(forged.slice(0, 1), facts(policy))).toEqual([
    '2027-01-01T01:00 dated_in_future newest_unverified',
  ])
})

test('a manual one stands for a day that has no daily one, and for no other', () => {
  const backups = [
    backup('2026-11-20T20:00Z', { backupType: 'manual' }),
    backup('2026-11-20T01:00Z'),
    backup('2026-11-18T20:00Z', { backupType: 'manual' }),
  ]

  expect(kept(backups, facts({ daily: 2 }))).toEqual([
    '2026-11-20T20:00 newest_good',
    '2026-11-20T01:00 daily',
    '2026-11-18T20:00 daily',
  ])
})

test('whatever the policy: pins, holds, use, another store, the window of a safety backup, today', () => {
  const old = '2020-01-01T01:00Z'
  const pin = { isHold: false, by: 'ann@example.org', reason: 'audit' }
  const backups = [
    backup('2026-11-21T01:00Z'),
    backup('2026-11-21T00:30Z', { backupType: 'manual' }),
    backup(old, { pin }),
    backup(old, { pin: { ...pin, isHold: true } }),
    backup(old, { usedBy: 'restore under way' }),
    backup(old, { isElsewhere: true }),
    backup('2026-10-23T01:00Z', { backupType: 'pre_restore' }),
    backup('2026-10-21T01:00Z', { backupType: 'pre_restore' }),
    backup(old, { tags: ['month-end'] }),
    backup(old),
  ]
  const policy = { last: 1, tags: { 'month-end': 36_500 } }

  const decisions = decideRetention(backups, facts(policy))

  expect(
    decisions.map(({ isKept, reasons }) => `${isKept} ${reasons.map((it) => it.code)}`),
  ).toEqual([
    'true today,newest_good,last',
    'true today,last',
    'true pinned',
    'true hold',
    'true in_use',
    'true elsewhere',
    'true safety_window',
    'false safety_window_over',
    'true tags',
    'false past_policy',
  ])
  expect(decisions[2]?.reasons[0]?.message).toBe('ann@example.org pinned it: audit')
})

test('the window of a safety backup counts from when we made its row, whatever the time of its rows', () => {
  const recorded = (at: string, recordedAt: string) =>
    backup(at, { backupType: 'pre_restore', recordedAt: new Date(recordedAt) })

  expect(
    kept(
      [
        backup('2026-11-20T01:00Z'),
        recorded('2026-10-01T01:00Z', '2026-11-01T01:00Z'),
        recorded('2026-11-01T01:00Z', '2026-10-01T01:00Z'),
      ],
      facts({ last: 1 }),
    ),
  ).toEqual(['2026-11-20T01:00 newest_good last', '2026-10-01T01:00 safety_window'])
})

test('one whose row is dated in the future is kept, and is not the newest', () => {
  const forged = backup('2026-11-19T01:00Z', { recordedAt: new Date('2026-11-22T01:00Z') })

  expect(kept([backup('2026-11-18T01:00Z'), forged], facts({ last: 1 }))).toEqual([
    '2026-11-18T01:00 newest_good last',
    '2026-11-19T01:00 dated_in_future',
  ])
})

test('while the newest is not known to be whole, or there is none, nothing goes', () => {
  const old = [
    backup('2020-01-01T01:00Z'),
    backup('2020-02-01T01:00Z', { backupType: 'pre_restore' }),
  ]
  const damaged = [backup('2026-11-20T01:00Z', { isGood: false }), ...old]

  expect(kept(damaged, facts({ last: 1 })).length).toBe(3)
  expect(kept(damaged, facts({ last: 1 }))[1]).toContain('newest_good')
  expect(
    kept([backup('2020-02-01T01:00Z', { backupType: 'pre_restore' })], facts({ last: 1 })),
  ).toEqual(['2020-02-01T01:00 newest_unverified'])
})

test('a tenant that left: all stays for its days, then all goes but holds and what is in use', () => {
  const pin = { isHold: false, by: 'ann', reason: 'mine' }
  const backups = [
    backup('2026-11-20T01:00Z'),
    backup('2020-01-01T01:00Z', { pin }),
    backup('2020-01-02T01:00Z', { pin: { ...pin, isHold: true } }),
    backup('2020-01-03T01:00Z', { usedBy: 'compare under way' }),
    backup('2026-11-20T02:00Z', { backupType: 'pre_restore' }),
  ]
  const left = (days: number) => ({
    departed: { since: new Date(NOW.getTime() - days * DAY_MS), days: 90 },
  })

  expect(keptIds(backups, facts({ last: 1 }, left(89.9))).size).toBe(5)
  expect(kept(backups, facts({ last: 1 }, left(90)))).toEqual([
    '2020-01-02T01:00 hold',
    '2020-01-03T01:00 in_use',
  ])
})

test('a tenant that was forgotten: whatever is older goes, pins and all; what is newer begins anew', () => {
  const backups = [
    backup('2026-11-21T10:00Z'),
    // Of the very moment: it was taken before, the lock says so.
    backup('2026-11-21T09:00Z'),
    backup('2026-11-20T01:00Z', { pin: { isHold: false, by: 'ann', reason: 'mine' } }),
    backup('2026-11-19T01:00Z', { usedBy: 'restore under way' }),
    backup('2026-11-18T01:00Z', { isElsewhere: true }),
  ]

  const given = facts({ within_days: 30 }, { forgottenAt: new Date('2026-11-21T09:00Z') })

  expect(kept(backups, given).map((it) => it.slice(0, 16))).toEqual([
    '2026-11-21T10:00',
    '2026-11-19T01:00',
    '2026-11-18T01:00',
  ])
})

test.each<[unknown]>([
  [{}],
  [{ last: 0, daily: 0 }],
  [{ tags: {} }],
  [{ within_days: 0 }],
  [{ within_days: 1e9 }],
  [{ last: -1 }],
  [{ keep: 'all' }],
  [[]],
  ['30 days'],
  [null],
])('the policy %j removes nothing and says so', (value) => {
  const policy = parsePolicy(value, 'setting')
  const backups = [backup('2026-11-20T01:00Z'), backup('2001-01-01T01:00Z')]

  const decisions = decideRetention(backups, { ...facts({ last: 1 }), policy })

  expect(policy.problem).toEqual(expect.stringMatching(/nothing is removed/))
  expect(decisions.every(({ isKept }) => isKept)).toBe(true)
})

const instant = fc.date({
  min: new Date('2019-01-01T00:00Z'),
  max: new Date('2027-06-01T00:00Z'),
  noInvalidDate: true,
})
const arbitraryBackup = fc
  .record({
    takenAt: instant,
    backupType: fc.constantFrom<RetainableBackup['backupType']>(
      'daily_tenant',
      'manual',
      'pre_restore',
    ),
    isGood: fc.boolean(),
    tags: fc.subarray(['a', 'b']),
  })
  .map(({ takenAt, ...more }) => backup(takenAt, more))
const arbitraryBackups = fc.array(arbitraryBackup, { maxLength: 60 })
const rule = fc.option(fc.integer({ min: 1, max: 8 }), { nil: undefined })
const arbitraryPolicy = fc.record({
  within_days: fc.option(fc.integer({ min: 1, max: 2_000 }), { nil: undefined }),
  last: rule,
  daily: rule,
  weekly: rule,
  monthly: rule,
  yearly: rule,
})
const NUMBERS = ['within_days', 'last', 'daily', 'weekly', 'monthly', 'yearly'] as const

test('every backup gets one decision with a reason, in the order given', () => {
  fc.assert(
    fc.property(arbitraryBackups, arbitraryPolicy, (backups, policy) => {
      const decisions = decideRetention(backups, facts(policy))
      expect(decisions.map(({ backupId }) => backupId)).toEqual(backups.map(({ id }) => id))
      expect(decisions.every(({ reasons }) => reasons.length > 0)).toBe(true)
    }),
  )
})

test('a larger policy keeps whatever the smaller one keeps', () => {
  fc.assert(
    fc.property(
      arbitraryBackups,
      arbitraryPolicy,
      fc.constantFrom(...NUMBERS),
      fc.integer({ min: 1, max: 500 }),
      (backups, policy, field, more) => {
        const larger = keptIds(backups, facts({ ...policy, [field]: (policy[field] ?? 0) + more }))
        for (const id of keptIds(backups, facts(policy))) expect(larger).toContain(id)
      },
    ),
  )
})

test('pruning twice is pruning once: what is left stays', () => {
  fc.assert(
    fc.property(arbitraryBackups, arbitraryPolicy, (backups, policy) => {
      const left = keptIds(backups, facts(policy))
      const again = keptIds(
        backups.filter(({ id }) => left.has(id)),
        facts(policy),
      )
      expect(again).toEqual(left)
    }),
  )
})

test('whatever else there is, the newest good one stays', () => {
  fc.assert(
    fc.property(arbitraryBackups, arbitraryBackups, arbitraryPolicy, (some, more, policy) => {
      const all = [...some, ...more]
      const good = all
        .filter((it) => it.isGood && it.backupType !== 'pre_restore' && it.takenAt <= NOW)
        .sort((a, b) => b.takenAt.getTime() - a.takenAt.getTime())
      const ids = keptIds(all, facts(policy))
      const [newest] = good
      if (newest !== undefined) {
        const sameInstant = good.filter((it) => it.takenAt.getTime() === newest.takenAt.getTime())
        expect(sameInstant.some(({ id }) => ids.has(id))).toBe(true)
      }
    }),
  )
})

test('what is dated in the future changes nothing for the others', () => {
  fc.assert(
    fc.property(arbitraryBackups, arbitraryPolicy, (backups, policy) => {
      const real = backups.filter(({ takenAt }) => takenAt <= NOW)
      const all = keptIds(backups, facts(policy))
      const without = keptIds(real, facts(policy))
      for (const { id } of real) expect(all.has(id)).toBe(without.has(id))
    }),
  )
})
