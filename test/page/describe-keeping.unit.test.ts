import { expect, test } from 'vitest'
import { listMarks, listReasons, nameOperation } from '../../src/page/backups/backup-words.ts'
import { describeKeeping } from '../../src/page/backups/describe-keeping.ts'
import { describePolicy } from '../../src/page/tenants/describe-policy.ts'

const IN_MAY = new Date('2027-05-01T00:00:00Z')
const IN_JUNE = new Date('2027-06-01T00:00:00Z')
const reason = (code: string, until: Date | null = null) => ({ code, message: code, until })

test.each([
  ['the last of its ends', [reason('within_days', IN_MAY), reason('tags', IN_JUNE)], 'Kept until'],
  [
    'no end of a rule that counts',
    [reason('monthly'), reason('within_days', IN_JUNE)],
    'Kept at least until',
  ],
  ['the newest good one', [reason('newest_good'), reason('today', IN_JUNE)], 'Kept at least until'],
])('says until when: %s', (_, reasons, text) => {
  expect(describeKeeping({ isKept: true, reasons })).toEqual({ text, until: IN_JUNE })
})

test.each([
  [
    'a hold outlives every day',
    [reason('within_days', IN_MAY), reason('pinned'), reason('hold')],
    'Kept until an operator lifts the hold',
  ],
  ['a month alone', [reason('monthly')], 'Kept as the one of its month'],
  ['a reason that is not known here', [reason('moonlight')], 'Kept'],
])('says why where no day is known: %s', (_, reasons, text) => {
  expect(describeKeeping({ isKept: true, reasons })).toEqual({ text, until: null })
})

test('says what goes next', () => {
  const keep = { isKept: false, reasons: [reason('past_policy')] }
  expect(describeKeeping(keep)).toEqual({ text: 'Goes with the next pruning', until: null })
})

const BACKUP = {
  status: 'complete' as const,
  provenAt: IN_MAY,
  damagedAt: null,
  damage: null,
  pinnedAt: null,
  pinnedBy: null,
  pinnedByKind: null,
  pinReason: null,
  pruneReason: null,
  errorMessage: null,
  gaps: [],
}

test('marks what is proven, and takes the mark from what was damaged since', () => {
  const words = (changes: object) => listMarks({ ...BACKUP, ...changes }).map((mark) => mark.word)
  expect(words({})).toEqual(['Proven'])
  expect(words({ damagedAt: IN_JUNE, gaps: ['leads'] })).toEqual(['1 table missing'])
  expect(words({ pinnedAt: IN_MAY, pinnedByKind: 'user' })).toEqual(['Proven', 'Pinned'])
  expect(words({ pinnedAt: IN_MAY, pinnedByKind: 'operator' })).toEqual(['Proven', 'Held'])
})

test('gives the reasons of damage, a hold and a pruning', () => {
  const damage = ['A file is missing.', 'A file is missing.', 'Another is longer.'].map(
    (message) => ({ message, table: null }),
  )
  expect(listReasons({ ...BACKUP, damagedAt: IN_MAY, damage })).toEqual([
    'A file is missing. And 1 other finding. It is neither compared nor restored.',
  ])
  const held = {
    pinnedAt: IN_MAY,
    pinnedBy: 'ann@example.com',
    pinnedByKind: 'operator',
    pinReason: 'a lawsuit',
  } as const
  expect(listReasons({ ...BACKUP, ...held })).toEqual(['Held by ann@example.com: a lawsuit'])
  expect(listReasons({ ...BACKUP, status: 'pruned', pruneReason: 'Of old age.' })).toEqual([
    'Of old age.',
  ])
})

test('puts rules into words', () => {
  expect(
    describePolicy({ within_days: 1, last: 5, weekly: 1, monthly: 12, tags: { audit: 365 } }),
  ).toEqual([
    'everything younger than 1 day',
    'the newest 5 daily and the newest 5 manual ones',
    'the newest of the last week with a backup',
    'the newest of each of the last 12 months with a backup',
    'what is tagged #audit, for 365 days',
  ])
})

test.each(['prune', 'forget', 'verify', 'drill', 'copy', 'rebuild', 'pause', 'resume', 'policy'])(
  'the history has a name for %s',
  (type) => {
    expect(nameOperation(type)).not.toBe(type)
  },
)
