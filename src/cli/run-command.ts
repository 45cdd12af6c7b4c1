import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { type Command, InvalidArgumentError } from 'commander'
import * as z from 'zod'
import { sqlstateOf } from '../core/database/sqlstates.ts'
import { BackupError, type ErrorCode } from '../core/errors.ts'
import { EXIT, EXIT_HELP, type ExitStatus, exitStatusOf } from './exit-status.ts'
import { printable } from './format-text.ts'
import { type Progress, type ProgressOutput, showProgress } from './progress.ts'
import type { Environment } from './settings.ts'

/** The world around a command, so that tests can hand in another. */
export interface Surroundings {
  env: Environment
  stdout: { write(text: string): unknown }
  stderr: ProgressOutput
  /** Aborted by Ctrl-C and SIGTERM. */
  signal: AbortSignal
}

/** What a command has to say: the same facts for programs and for people. */
export interface CommandResult {
  /** Printed with `--json`, after `success`. */
  document: Record<string, unknown>
  /** Printed without it. */
  text: string
  status?: ExitStatus
}

export interface CommandContext {
  env: Environment
  progress: Progress
  signal: AbortSignal
}

/** Wraps the work of a command into what commander calls. */
export type Runner = <Flags>(
  work: (context: CommandContext, flags: Flags, args: string[]) => Promise<CommandResult>,
) => (...given: unknown[]) => Promise<void>

/** Makes the runner; `setStatus` receives the exit status of the command that ran. */
export function createRunner(
  surroundings: Surroundings,
  setStatus: (status: ExitStatus) => void,
): Runner {
  return (work) =>
    async (...given) => {
      // commander hands over the arguments, then the flags, then the command itself.
      const command = given.at(-1) as Command
      const flags = command.optsWithGlobals() as Parameters<typeof work>[1]
      const isJson = command.optsWithGlobals().json === true
      const progress = showProgress(surroundings.stderr)
      try {
        const { signal } = surroundings
        const env = readEnvironment(surroundings.env, command.optsWithGlobals().settings)
        const result = await work({ env, progress, signal }, flags, argumentsOf(command))
        progress.end()
        const status = result.status ?? EXIT.done
        print(surroundings, isJson, result.text, {
          success: status === EXIT.done,
          ...result.document,
        })
        setStatus(status)
      } catch (error) {
        progress.end()
        setStatus(reportError(surroundings, isJson, error))
      }
    }
}

/** As their parsers gave them; an argument that repeats comes as a list. */
function argumentsOf(command: Command): string[] {
  return command.processedArgs.flat().filter((value) => typeof value === 'string')
}

/** The environment, and below it the file: what is set by hand wins. */
function readEnvironment(env: Environment, file: unknown): Environment {
  if (typeof file !== 'string') return env
  try {
    return { ...parseEnv(readFileSync(file, 'utf8')), ...env }
  } catch (cause) {
    throw new BackupError('invalid_request', `--settings: ${file} cannot be read.`, { cause })
  }
}

/** Prints an error the way the caller reads it, and gives the exit status for it. */
export function reportError(
  surroundings: Surroundings,
  isJson: boolean,
  error: unknown,
): ExitStatus {
  const told = readError(error)
  if (isJson) print(surroundings, true, '', { success: false, error: told })
  else surroundings.stderr.write(`tenantkeep: ${printable(told.message)} (${told.code})\n`)
  if (surroundings.env.TENANTKEEP_DEBUG === '1' && error instanceof Error) {
    surroundings.stderr.write(`${error.stack ?? error.message}\n`)
  }
  return exitStatusOf(told.code)
}

export interface ToldError {
  code: ErrorCode
  message: string
  details?: Record<string, unknown>
}

/** What may be told of an error: all of what we wrote ourselves, and no value of a row of the others. */
export function readError(error: unknown): ToldError {
  if (error instanceof BackupError) {
    const { code, message, details } = error
    return details === undefined ? { code, message } : { code, message, details }
  }
  const state = sqlstateOf(error)
  // These classes speak of tables, rights and statements; the others may quote values of rows.
  const isAboutSchema = state !== undefined && /^(42|0A|25|2B|3F|53|54|55|57)/.test(state)
  if (isAboutSchema && error instanceof Error) {
    return { code: 'internal', message: `The database answered: ${error.message} (${state}).` }
  }
  const what =
    state === undefined ? 'An unexpected error ended it' : `The database answered ${state}`
  return {
    code: 'internal',
    message: `${what}. With TENANTKEEP_DEBUG=1 the details follow on stderr; they may hold values of rows.`,
  }
}

function print(
  { stdout }: Surroundings,
  isJson: boolean,
  text: string,
  document: Record<string, unknown>,
): void {
  stdout.write(isJson ? `${JSON.stringify(document, null, 2)}\n` : text === '' ? '' : `${text}\n`)
}

/** The flags of every command, and the table of exit statuses below its help. */
export function addCommonFlags(command: Command): Command {
  return command
    .option('--json', 'print one JSON document on stdout and nothing else')
    .option('--settings <file>', 'read settings from a file of NAME=value lines as well')
    .addHelpText('after', EXIT_HELP)
}

/** For flags that may be given several times. */
export function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value]
}

/** A backup's id, as an argument. */
export function toBackupId(text: string): string {
  const id = text.toLowerCase()
  if (!z.guid().safeParse(id).success) throw new InvalidArgumentError('It must be a backup’s id.')
  return id
}
