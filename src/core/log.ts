import { type DestinationStream, type Logger, pino } from 'pino'
import { sqlstateOf } from './database/sqlstates.ts'
import { BackupError } from './errors.ts'

/**
 * What may be in a log line: ids, names of things of ours, codes, counts, times. All else is dropped. `runId`
 * counts as `run_id`, and is written so.
 */
const ALLOWED = new Set([
  'request_id',
  'endpoint',
  'method',
  'status',
  'caller',
  'code',
  'run_id',
  'backup_id',
  'tenant_id',
  'user_id',
  'restore_id',
  'backup_type',
  'dry_run',
  'table',
  'tables',
  'phase',
  'attempt',
  'rows',
  'records',
  'bytes',
  'objects',
  'settled',
  'left',
  'pending',
  'duration_ms',
  'count',
  'tenants',
  'backups',
  'problems',
  'findings',
  'failed',
  'done',
  'err',
])

const STDOUT: DestinationStream = { write: (line) => void process.stdout.write(line) }

/**
 * JSON lines with an allow-list, so that a row value or a secret has no way into the log. Fields of a
 * `child` pass as they are: give it constants and ids only.
 */
export function createLogger({
  level = 'info',
  destination = STDOUT,
}: {
  level?: string
  destination?: DestinationStream
} = {}): Logger {
  return pino(
    {
      level,
      base: null,
      // pickAllowed has described it already.
      serializers: { err: (described: unknown) => described },
      formatters: {
        log: pickAllowed,
        level: (label: string) => ({ level: label }),
      },
      hooks: {
        // Left alone, pino takes an error's message for the line's, and puts further values into it.
        logMethod([first, second], write) {
          const message = [first, second].find((part) => typeof part === 'string') ?? ''
          if (first instanceof Error) write.call(this, { err: first }, message)
          else write.call(this, typeof first === 'object' ? first : {}, message)
        },
      },
    },
    destination,
  )
}

/** Ids, counts and codes; what is not in the list is dropped. */
type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>

/**
 * One line when a piece of work begins and one when it ends, with how long it took and what `describe` says of
 * its result. What it throws passes, after a line with its code.
 */
export async function logPhase<T>(
  log: Logger,
  phase: string,
  ids: LogFields,
  work: () => Promise<T>,
  describe: (result: T) => LogFields,
): Promise<T> {
  const startedAt = Date.now()
  const duration = () => ({ duration_ms: Date.now() - startedAt })
  log.info({ phase, ...ids }, `${phase} begins`)
  try {
    const result = await work()
    log.info({ phase, ...ids, ...describe(result), ...duration() }, `${phase} ends`)
    return result
  } catch (error) {
    const code = error instanceof BackupError ? error.code : 'internal'
    log.warn({ phase, ...ids, code, err: error, ...duration() }, `${phase} fails`)
    throw error
  }
}

function pickAllowed(entry: Record<string, unknown>): Record<string, unknown> {
  const picked: Record<string, unknown> = {}
  for (const [given, value] of Object.entries(entry)) {
    const key = given.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    if (!ALLOWED.has(key)) continue
    picked[key] = key === 'err' ? describeError(value) : scalarOf(value)
  }
  return picked
}

function scalarOf(value: unknown): string | number | boolean | null {
  if (typeof value === 'string') return value.slice(0, 200)
  if (typeof value === 'number' || typeof value === 'boolean') return value
  return typeof value === 'bigint' ? value.toString() : null
}

/**
 * What we wrote ourselves may be read by everybody. Of an unknown error only its kind and where it came
 * from: its message may hold the value that it stumbled over.
 */
function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { type: typeof error }
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line))
  const sqlstate = sqlstateOf(error)
  return {
    type: error.name,
    ...(error instanceof BackupError ? { code: error.code, message: error.message } : {}),
    ...(sqlstate === undefined ? {} : { sqlstate }),
    at: frames.slice(0, 12).map((line) => line.trim().slice(3)),
    ...(error.cause === undefined ? {} : { cause: describeError(error.cause) }),
  }
}
