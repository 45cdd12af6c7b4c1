import { expect, test } from 'vitest'
import { type ProgressOutput, type Step, showProgress } from '../../src/cli/progress.ts'

function output(isTTY: boolean, columns = 100) {
  let text = ''
  const stream: ProgressOutput = {
    isTTY,
    columns,
    write(more) {
      text += more
    },
  }
  return { stream, read: () => text }
}

/** What a terminal shows in the end: a carriage return goes back to the start of the line. */
function shown(text: string): string[] {
  return text.split('\n').map((line) => line.split('\r\x1b[2K').at(-1) ?? '')
}

const step = (name: string, done: number, total: number): Step => ({
  group: 'Acme',
  name,
  done,
  total,
  unit: 'rows',
})

test('a terminal keeps one full bar per finished table', () => {
  const { stream, read } = output(true)
  const progress = showProgress(stream)
  progress.say('Acme')
  progress.update(step('customers', 0, 2_000))
  progress.update(step('customers', 1_000, 2_000))
  progress.update(step('customers', 2_000, 2_000))
  progress.update(step('orders', 0, 0))
  progress.end()
  progress.end()
  expect(shown(read())).toEqual([
    'Acme',
    `${'█'.repeat(24)} 100 %  customers  2,000 rows`,
    `${'█'.repeat(24)} 100 %  orders  0 rows`,
    '',
  ])
})

test('a terminal shows a bar that moves, and where it stopped', () => {
  const { stream, read } = output(true)
  const progress = showProgress(stream)
  progress.update(step('customers', 500, 2_000))
  expect(read()).toBe(
    `\r\x1b[2K${'█'.repeat(6)}${'░'.repeat(18)}  25 %  customers  500 of 2,000 rows`,
  )
  progress.end()
  expect(read().endsWith('500 of 2,000 rows\n')).toBe(true)
})

test('a bar never breaks the line of a narrow terminal', () => {
  const { stream, read } = output(true, 40)
  const progress = showProgress(stream)
  progress.update(step('a_table_with_a_very_long_name_indeed', 1, 2))
  progress.end()
  expect(shown(read()).every((line) => line.length < 40)).toBe(true)
})

test('elsewhere there is one plain line per finished table', () => {
  const { stream, read } = output(false)
  const progress = showProgress(stream)
  progress.say('Acme')
  for (const done of [0, 1, 2]) progress.update(step('customers', done, 2))
  progress.update(step('orders', 5, 10))
  progress.end()
  expect(read()).toBe('Acme\nAcme: customers, 2 rows\nAcme: orders, 5 of 10 rows\n')
})

test('names from the database cannot steer the terminal', () => {
  const { stream, read } = output(false)
  const progress = showProgress(stream)
  progress.say('\x1b[2J\u202eAcme')
  progress.update({ ...step('cust\r\nomers', 1, 1), group: 'A\x07' })
  progress.end()
  expect(read()).toBe('�[2J�Acme\nA�: cust��omers, 1 rows\n')
})
