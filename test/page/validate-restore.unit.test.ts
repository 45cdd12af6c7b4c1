import { expect, test } from 'vitest'
import { answerDecision } from '../../src/page/restore/restore-decisions.ts'
import type { Blocker, Errand, Report } from '../../src/page/restore/run-restore.ts'
import { addUp, isReady, validate } from '../../src/page/restore/validate-restore.ts'

const report = (blockers: Blocker[] = []): Report => ({
  ...{ runId: 'run', restoreId: null, safetyBackupId: null, planHash: 'hash', blockers },
  ...{ accessChanges: [], schemaChanges: [], warnings: [] },
  tables: [
    {
      ...{ name: 'customers', rowsInBackup: 5, rowsLive: 4, inserted: 2, updated: 1, deleted: 0 },
      ...{ unchanged: 1, kept: 1, skipped: 0, warnings: [] },
    },
  ],
})
const blocker = (code: string): Blocker => ({
  ...{ code, table: 'customers', constraint: 'fk', count: 1, keys: [], message: 'm' },
})

/** Answers as the given rehearsals do, one after the other, and keeps what it was asked. */
function rehearsals(...answers: Report[]) {
  const asked: object[] = []
  return {
    asked,
    rehearse: async (errand: Errand) => {
      asked.push(errand.body)
      const answer = answers[asked.length - 1]
      if (answer === undefined) throw new Error('One rehearsal too many.')
      return answer
    },
  }
}
const input = {
  isUndo: false,
  isPartial: false,
  known: [],
  picks: {},
  tables: [],
  toErrand: (decisions: readonly { id: string; answer: string | null }[]): Errand => ({
    name: 'restore-tenant-data',
    body: Object.fromEntries(decisions.map(({ id, answer }) => [id, answer])),
  }),
}

test('where nothing is in the way it is rehearsed once', async () => {
  const { asked, rehearse } = rehearsals(report())

  const plan = await validate({ ...input, rehearse })

  expect(asked).toEqual([{}])
  expect(isReady(plan)).toBe(true)
  expect(addUp(plan.report)).toEqual({
    ...{ inserted: 2, updated: 1, deleted: 0, untouched: 2, written: 3 },
  })
})

test('what came up is answered, and the plan is that of the answers', async () => {
  const { asked, rehearse } = rehearsals(
    report([blocker('missing_user')]),
    report([blocker('missing_reference')]),
    report(),
  )

  const plan = await validate({ ...input, rehearse })

  expect(asked).toEqual([
    {},
    { missing_user: 'empty' },
    { missing_user: 'empty', missing_reference: 'bring' },
  ])
  expect(plan.decisions.map(({ id }) => id)).toEqual(['missing_user', 'missing_reference'])
  expect(plan.errand.body).toEqual({ missing_user: 'empty', missing_reference: 'bring' })
  expect(isReady(plan)).toBe(true)
})

test('another answer is rehearsed with what was known before', async () => {
  const first = rehearsals(report([blocker('missing_user')]), report())
  const { decisions } = await validate({ ...input, rehearse: first.rehearse })
  const second = rehearsals(report())

  const plan = await validate({
    ...input,
    known: answerDecision(decisions, 'missing_user', 'leave_out'),
    rehearse: second.rehearse,
  })

  expect(second.asked).toEqual([{ missing_user: 'leave_out' }])
  expect(plan.decisions).toHaveLength(1)
})

test('what only a person may decide is left to one', async () => {
  const { asked, rehearse } = rehearsals(report([blocker('side_effects')]))

  const plan = await validate({ ...input, rehearse })

  expect(asked).toHaveLength(1)
  expect(isReady(plan)).toBe(false)
})

test('what nothing settles is no plan', async () => {
  const { rehearse } = rehearsals(report([blocker('row_outside_tenant')]))

  const plan = await validate({ ...input, rehearse })

  expect(plan.obstacles.map(({ code }) => code)).toEqual(['row_outside_tenant'])
  expect(isReady(plan)).toBe(false)
})

test('answers that leave nothing to do end it', async () => {
  const { rehearse } = rehearsals(report([blocker('missing_user')]))
  const toErrand = (decisions: readonly unknown[]) =>
    decisions.length === 0 ? input.toErrand([]) : null

  await expect(validate({ ...input, toErrand, rehearse })).rejects.toMatchObject({
    code: 'nothing_left',
  })
})
