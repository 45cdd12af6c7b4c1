import { createInterface } from 'node:readline/promises'
import { BackupError } from '../core/errors.ts'

/**
 * Makes sure that a person means it: on a terminal the word has to be typed. Throws `answers_needed` where
 * there is nobody to ask (a flag says it in a script), `not_allowed` where something else was typed.
 */
export async function askForWord(
  question: string,
  word: string,
  signal: AbortSignal,
  /** What says it in a script. */
  flag = '--yes',
): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new BackupError(
      'answers_needed',
      `${question} Nothing was done: there is no terminal to ask on. With ${flag} it is done without asking.`,
    )
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await terminal.question(`${question}\nType ${word} to go on: `, { signal })
    if (answer.trim() === word) return
  } finally {
    terminal.close()
  }
  throw new BackupError('not_allowed', `The word was not ${word}. Nothing was done.`)
}
