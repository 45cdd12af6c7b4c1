import { createInterface } from 'node:readline/promises'
import type { Question } from '../core/tables/group-questions.ts'
import type { Answer } from '../core/tables/read-answers.ts'
import { printable } from './format-text.ts'

/** Puts questions to a person, below the overview; no answers where there is nobody, or who gave up. */
export type AskPerson = (overview: string, questions: readonly Question[]) => Promise<Answer[]>

/** Asks on the terminal that started us; the empty line takes the default, `q` ends without an answer. */
export const askOnTerminal: AskPerson = async (overview, questions) => {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return []
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return await askInTurn(
      overview,
      questions,
      (text) => terminal.question(text),
      (text) => process.stderr.write(text),
    )
  } finally {
    terminal.close()
  }
}

/** The conversation itself; `ask` gives back a line, `say` prints. */
export async function askInTurn(
  overview: string,
  questions: readonly Question[],
  ask: (text: string) => Promise<string>,
  say: (text: string) => unknown,
): Promise<Answer[]> {
  const answers: Answer[] = []
  say(`${overview}\n`)
  const askable = questions.filter((question) => question.options.length > 0)
  for (const [index, question] of askable.entries()) {
    say(`\n${index + 1} of ${askable.length}. ${printable(question.text)}\n`)
    for (const line of question.evidence) say(`   ${printable(line)}\n`)
    for (const [number, option] of question.options.entries()) {
      say(`   ${number + 1}  ${option.label}\n`)
    }
    const answer = await askOne(question, ask, say)
    if (answer === null) return []
    answers.push(answer)
  }
  return answers
}

async function askOne(
  question: Question,
  ask: (text: string) => Promise<string>,
  say: (text: string) => unknown,
): Promise<Answer | null> {
  const byDefault = question.options.findIndex((option) => option.answer === question.default)
  const hint = byDefault < 0 ? '' : ` [${byDefault + 1}]`
  for (;;) {
    const line = (await ask(`   Answer${hint}: `)).trim()
    if (line === 'q') return null
    if (line === '' && question.default !== null) return question.default
    const option = question.options.find(
      ({ key }, index) => line === key || line === String(index + 1),
    )
    if (option !== undefined) return option.answer
    say(`   One of 1 to ${question.options.length}, or q to stop.\n`)
  }
}
