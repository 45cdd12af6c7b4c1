import { expect, test } from 'vitest'
import { askInTurn } from '../../src/cli/ask-questions.ts'
import type { Question } from '../../src/core/tables/group-questions.ts'

const SHARED = { tables: { 'public.a': { class: 'shared' as const } } }
const EXCLUDED = { tables: { 'public.a': { class: 'excluded' as const, reason: 'x' } } }

function question(
  id: 'unused' | 'others' | 'foreign_owner',
  more: Partial<Question> = {},
): Question {
  return {
    id,
    kind: id,
    tables: ['public.a'],
    text: `About ${id}?`,
    evidence: ['public.a: 3 rows.'],
    default: SHARED,
    options: [
      { key: 'shared', label: 'Everybody’s', answer: SHARED, flags: [] },
      { key: 'exclude', label: 'Leave out', answer: EXCLUDED, flags: [] },
    ],
    ...more,
  }
}

async function talk(questions: Question[], lines: string[]) {
  const said: string[] = []
  const waiting = [...lines]
  const answers = await askInTurn(
    'overview',
    questions,
    async (prompt) => {
      said.push(prompt)
      return waiting.shift() ?? 'q'
    },
    (text) => said.push(text),
  )
  return { answers, said: said.join('') }
}

test('takes a number, a name, or the default on an empty line, in turn', async () => {
  const { answers, said } = await talk(
    [question('unused'), question('others'), question('others')],
    ['2', '', 'shared'],
  )
  expect(answers).toEqual([EXCLUDED, SHARED, SHARED])
  expect(said).toMatch(
    /overview\n\n1 of 3\. About unused\?\n {3}public\.a: 3 rows\.\n {3}1 {2}Everyb/,
  )
})

test('asks again after a line that is no answer, and has no default where there is none', async () => {
  const { answers, said } = await talk([question('others', { default: null })], ['', '9', '1'])
  expect(answers).toEqual([SHARED])
  expect(said.match(/One of 1 to 2/g)).toHaveLength(2)
  expect(said).not.toContain('[1]')
})

test('gives no answer at all to whoever stops halfway', async () => {
  expect((await talk([question('unused'), question('others')], ['1', 'q'])).answers).toEqual([])
})

test('passes over what no answer settles', async () => {
  const { answers } = await talk([question('foreign_owner', { options: [] })], [])
  expect(answers).toEqual([])
})
