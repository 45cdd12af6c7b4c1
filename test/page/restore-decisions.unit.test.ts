import { describe, expect, test } from 'vitest'
import { RestoreOptions as ServiceOptions } from '../../src/core/restore/restore-options.ts'
import type { Blocker as ServiceBlocker } from '../../src/core/restore/restore-result.ts'
import { describeDecision, describeObstacle } from '../../src/page/restore/describe-restore.ts'
import { FIRST_CHOICES, findFault, toOptions } from '../../src/page/restore/restore-choices.ts'
import {
  answerDecision,
  answersOf,
  applyAnswers,
  conflictAnswer,
  type Decision,
  isOpen,
  settleBlockers,
} from '../../src/page/restore/restore-decisions.ts'
import type { Blocker } from '../../src/page/restore/run-restore.ts'

const blocker = (code: Blocker['code'], more: Partial<Blocker> = {}): Blocker => ({
  ...{ code, table: 'customers', constraint: null, count: 2, keys: [['1'], ['2']], message: 'm' },
  ...more,
})

const settle = (
  blockers: Blocker[],
  known: Decision[] = [],
  { picks = {}, round = 0, isUndo = false } = {},
) => settleBlockers(known, blockers, { picks, round, isUndo })

const EVERYTHING = toOptions(FIRST_CHOICES, null)

const CODES: Record<ServiceBlocker['code'], 'decision' | 'obstacle'> = {
  missing_user: 'decision',
  missing_reference: 'decision',
  key_taken: 'decision',
  referenced: 'decision',
  row_refused: 'decision',
  row_outside_tenant: 'obstacle',
  access_changes: 'decision',
  schema_changed: 'decision',
  side_effects: 'decision',
  read_only_table: 'obstacle',
  undo_conflict: 'decision',
  actor_locked_out: 'decision',
}

describe('everything that the service may name is a decision or a sentence', () => {
  test.each(Object.entries(CODES))('%s', (code, expected) => {
    const constraint = code === 'schema_changed' ? 'dropped_column:customers.fax' : null

    const { decisions, obstacles } = settle([blocker(code, { constraint })])

    expect([decisions.length, obstacles.length]).toEqual(expected === 'decision' ? [1, 0] : [0, 1])
    const words = [
      ...decisions.flatMap((decision) => {
        const { question, text, answers } = describeDecision(decision)
        expect(answers.map(({ answer }) => answer)).toEqual(answersOf(decision.kind))
        return [question, text, ...answers.flatMap(({ label, trap }) => [label, trap])]
      }),
      ...obstacles.map(describeObstacle),
    ]
    for (const sentence of words) {
      expect(sentence).toMatch(/\S/)
      expect(sentence).not.toMatch(/undefined|null\b|on_|accept_|_/)
    }
  })

  test.each(Object.keys(CODES))('%s, of an undo', (code) => {
    const { decisions, obstacles } = settle([blocker(code)], [], { isUndo: true })

    expect(decisions.length + obstacles.length).toBe(1)
    for (const { kind } of decisions) expect(kind).toBe('undo_conflict')
  })

  test('and what a later service names, with its own words', () => {
    const { obstacles } = settle([blocker('something_new', { message: 'It says why.' })])

    expect(obstacles.map(describeObstacle)).toEqual(['Customers: It says why.'])
  })
})

describe('the safe answer is taken', () => {
  test.each([
    ['missing_user', 'empty', { on_missing_user: 'null' }],
    ['missing_reference', 'bring', { on_missing_reference: 'restore' }],
    ['key_taken', 'leave_out', { on_taken: 'skip' }],
    ['referenced', 'keep', { on_referenced: 'keep' }],
  ] as const)('%s: %s', (code, answer, options) => {
    const { decisions, hasNewAnswers } = settle([blocker(code)])

    expect(decisions[0]?.answer).toBe(answer)
    expect(hasNewAnswers).toBe(true)
    expect(applyAnswers(EVERYTHING, decisions, ['customers', 'rentals'])).toMatchObject(options)
  })

  test('access is not given back: its tables are left as they are', () => {
    const { decisions } = settle([blocker('access_changes', { table: 'profiles' })])

    expect(applyAnswers(EVERYTHING, decisions, ['customers', 'profiles'])).toMatchObject({
      tables: ['customers'],
    })
    const given = answerDecision(decisions, 'access_changes', 'accept')
    expect(applyAnswers(EVERYTHING, given, ['customers', 'profiles'])).toMatchObject({
      tables: null,
      accept_access_changes: true,
    })
  })

  test('a column that is gone stays in the backup, by its name', () => {
    const constraint = 'dropped_column:customers.fax'
    const { decisions } = settle([blocker('schema_changed', { constraint, count: 0 })])

    expect(applyAnswers(EVERYTHING, decisions, [])?.accept_schema_changes).toEqual([constraint])
  })

  test('values of another type now are for a person to decide', () => {
    const constraint = 'changed_type:customers.amount'
    const { decisions, hasNewAnswers } = settle([blocker('schema_changed', { constraint })])

    expect(decisions.map(isOpen)).toEqual([true])
    expect(hasNewAnswers).toBe(false)
    expect(applyAnswers(EVERYTHING, decisions, [])).toEqual(EVERYTHING)
  })

  test('a rule that would act stops the restore until somebody says otherwise', () => {
    const { decisions } = settle([blocker('side_effects', { constraint: 'notify' })])

    expect(decisions.map(isOpen)).toEqual([true])
    const accepted = answerDecision(decisions, 'side_effects', 'accept')
    expect(applyAnswers(EVERYTHING, accepted, [])).toMatchObject({ accept_side_effects: true })
  })

  test('what a person answered before counts more', () => {
    const { decisions } = settle([blocker('missing_user')], [], {
      picks: { missing_user: 'leave_out' },
    })

    expect(decisions[0]?.answer).toBe('leave_out')
  })
})

describe('an answer that did not settle it', () => {
  test('gives way to the next safe one, and is not offered again', () => {
    const first = settle([blocker('missing_user')])

    const second = settle([blocker('missing_user')], first.decisions, { round: 1 })

    expect(second.decisions[0]).toMatchObject({ answer: 'leave_out', ruledOut: ['empty'] })
    expect(second.hasNewAnswers).toBe(true)
    expect(second.decisions[0]?.found).toHaveLength(1)
  })

  test('leaves it open where there is no other, and ends the search', () => {
    const first = settle([blocker('referenced')])

    const second = settle([blocker('referenced')], first.decisions, { round: 1 })

    expect(second.decisions[0]).toMatchObject({ answer: null, ruledOut: ['keep'] })
    expect(second.hasNewAnswers).toBe(false)
  })

  test('a second table to leave out is no failure of leaving out', () => {
    const first = settle([blocker('access_changes', { table: 'profiles' })])

    const second = settle([blocker('access_changes', { table: 'invites' })], first.decisions)

    expect(second.decisions[0]).toMatchObject({ answer: 'leave_table', ruledOut: [] })
    expect(applyAnswers(EVERYTHING, second.decisions, ['a', 'profiles', 'invites'])).toMatchObject({
      tables: ['a'],
    })
    const third = settle([blocker('access_changes', { table: 'invites' })], second.decisions)
    expect(third.decisions[0]?.answer).toBeNull()
  })

  test('a table that was left out does not come back because others refer to it', () => {
    const access = blocker('access_changes', { table: 'profiles' })
    const first = settle([access])
    const second = settle([blocker('missing_reference')], first.decisions, { round: 1 })
    expect(second.decisions.map(({ answer }) => answer)).toEqual(['leave_table', 'empty'])
  })

  test('nor where a person asked for what they refer to', () => {
    const access = blocker('access_changes', { table: 'profiles' })
    const first = settle([access])
    const second = settle([blocker('missing_reference')], first.decisions, {
      ...{ round: 1, picks: { missing_reference: 'bring' } },
    })
    expect(second.decisions.map(({ answer }) => answer)).toEqual(['leave_table', 'bring'])

    const third = settle([access], second.decisions, { round: 2 })

    expect(third.decisions.map(({ answer }) => answer)).toEqual(['leave_table', 'empty'])
    expect(third.hasNewAnswers).toBe(true)
  })

  test('what came up after it is asked anew when it is changed', () => {
    const first = settle([blocker('missing_user')])
    const second = settle([blocker('missing_reference')], first.decisions, { round: 1 })

    const changed = answerDecision(second.decisions, 'missing_user', 'leave_out')

    expect(changed.map(({ id }) => id)).toEqual(['missing_user'])
  })
})

test('answers that leave nothing to restore are no request', () => {
  const { decisions } = settle([blocker('access_changes', { table: 'profiles' })])
  const profiles = { ...EVERYTHING, tables: ['profiles'] }
  const rows = { ...EVERYTHING, rows: { profiles: [{ id: '1' }] } }

  expect(applyAnswers(profiles, decisions, [])).toBeNull()
  expect(applyAnswers(rows, decisions, [])).toBeNull()
})

test('an undo keeps what was changed since, unless it is to take that back too', () => {
  const { decisions } = settle([blocker('undo_conflict'), blocker('key_taken')], [], {
    isUndo: true,
  })

  expect(decisions).toHaveLength(1)
  expect(conflictAnswer(decisions)).toBe('keep')
  expect(conflictAnswer(answerDecision(decisions, 'undo_conflict', 'take_back'))).toBe('undo')
  expect(conflictAnswer([])).toBeUndefined()
})

describe('what was chosen', () => {
  test.each([
    ['missing', { missing: 'restore', changed: 'keep', newer: 'keep', history: 'keep' }],
    ['changes', { missing: 'restore', changed: 'restore', newer: 'keep', history: 'keep' }],
    ['exact', { missing: 'restore', changed: 'restore', newer: 'restore', history: 'keep' }],
  ] as const)('%s, as the service understands it', (manner, options) => {
    const asked = toOptions({ ...FIRST_CHOICES, manner }, null)

    expect(asked).toEqual({ tables: null, rows: null, ...options })
    expect(ServiceOptions.safeParse(asked).success).toBe(true)
  })

  test('of each kind by itself; the trail of what happened goes only with newer rows', () => {
    const each = { ...FIRST_CHOICES, manner: 'each' as const, history: 'restore' as const }

    expect(toOptions(each, null)).toMatchObject({ newer: 'keep', history: 'keep' })
    expect(toOptions({ ...each, newer: 'restore' }, null)).toMatchObject({ history: 'restore' })
  })

  test('rows that were ticked become exactly as they were', () => {
    const rows = { customers: [{ id: '1' }] }

    const asked = toOptions({ ...FIRST_CHOICES, scope: 'rows' }, rows)

    expect(asked).toEqual({
      ...{ tables: null, rows, missing: 'restore', changed: 'restore', newer: 'restore' },
      history: 'restore',
    })
    expect(ServiceOptions.safeParse(asked).success).toBe(true)
  })

  test('nothing ticked never means everything', () => {
    expect(findFault({ ...FIRST_CHOICES, scope: 'tables' }, null)?.text).toBe(
      'Tick at least one table.',
    )
    expect(findFault({ ...FIRST_CHOICES, scope: 'rows' }, {})).not.toBeNull()
    expect(findFault({ ...FIRST_CHOICES, manner: 'each', missing: 'keep' }, null)?.field).toBe(
      'each',
    )
    expect(findFault(FIRST_CHOICES, null)).toBeNull()
  })

  test('every answer is an option that the service knows', () => {
    const blockers = Object.keys(CODES).map((code) =>
      blocker(code, { constraint: 'changed_type:customers.amount' }),
    )
    const { decisions } = settle(blockers)

    for (const decision of decisions) {
      for (const answer of answersOf(decision.kind)) {
        const answered = answerDecision(decisions, decision.id, answer)
        const options = applyAnswers(EVERYTHING, answered, ['customers', 'rentals'])
        expect(ServiceOptions.safeParse(options).success).toBe(true)
      }
    }
  })
})
