import { RequestFailed } from '../calls/call-function.ts'
import { describeError, type ErrorWords } from '../frame/describe-error.ts'
import { formatCount, formatPlural } from '../frame/format.ts'
import { nameTable, nameTables } from '../frame/name-table.ts'
import type { Answer, Decision, Finding } from './restore-decisions.ts'
import type { Blocker, Phase, SchemaChange, Step } from './run-restore.ts'
import type { Totals } from './validate-restore.ts'

/** The words of restoring and undoing, in one place; no element of the page in here. */

export interface PhaseWords {
  phase: Phase
  label: string
}

/** What a rehearsal goes through. Everything it tries out is taken back. */
export const REHEARSAL_PHASES: readonly PhaseWords[] = [
  { phase: 'comparing', label: "Read today's data" },
  { phase: 'staging', label: 'Load the backup' },
  { phase: 'planning', label: 'Compare' },
  { phase: 'writing', label: 'Try it out' },
  { phase: 'proving', label: 'Check the result' },
]

export const RESTORE_PHASES: readonly PhaseWords[] = [
  { phase: 'safety_backup', label: 'Take the safety backup' },
  { phase: 'staging', label: 'Load the backup' },
  { phase: 'planning', label: 'Compare' },
  { phase: 'writing', label: 'Write' },
  { phase: 'proving', label: 'Prove the result' },
]

/** Where in its phases a step is; before the first one while nothing was heard. */
export function placeOf(phases: readonly PhaseWords[], phase: Phase | undefined): number {
  if (phase === 'finishing') return phases.length - 1
  if (phase === 'locking') return 0
  return phases.findIndex((known) => known.phase === phase)
}

/** `Customers: 500 of 1,200 rows`; null where a step is about no table. */
export function describeStep({ table, rowsDone, rowsTotal }: Step): string | null {
  if (table === null) return null
  return `${nameTable(table)}: ${formatCount(rowsDone)} of ${formatPlural(rowsTotal, 'row')}`
}

type Tense = 'would' | 'did'

const VERBS = {
  restore: {
    would: {
      inserted: ['comes back', 'come back'],
      updated: ['gets earlier values', 'get earlier values'],
      deleted: ['is removed', 'are removed'],
    },
    did: {
      inserted: ['came back', 'came back'],
      updated: ['got earlier values', 'got earlier values'],
      deleted: ['was removed', 'were removed'],
    },
  },
  undo: {
    would: {
      inserted: ['comes back', 'come back'],
      updated: ['gets back the values from before', 'get back the values from before'],
      deleted: ['is removed again', 'are removed again'],
    },
    did: {
      inserted: ['came back', 'came back'],
      updated: ['got back the values from before', 'got back the values from before'],
      deleted: ['was removed again', 'were removed again'],
    },
  },
} as const

/** `31 rows come back`, `8 get earlier values`, `4 are removed`: what is not there is not said. */
export function listChanges(
  totals: Totals,
  { tense, isUndo }: { tense: Tense; isUndo: boolean },
): string[] {
  const verbs = VERBS[isUndo ? 'undo' : 'restore'][tense]
  const kinds = ['inserted', 'updated', 'deleted'] as const
  return kinds
    .filter((kind) => totals[kind] > 0)
    .map((kind, index) => {
      const [one, many] = verbs[kind]
      const count = totals[kind]
      const subject = index === 0 ? formatPlural(count, 'row') : formatCount(count)
      return `${subject} ${count === 1 ? one : many}`
    })
}

/** The same as a sentence, with what stays. */
export function describeChanges(totals: Totals, words: { tense: Tense; isUndo: boolean }): string {
  const changes = listChanges(totals, words)
  if (changes.length === 0) return 'Nothing changes.'
  const stay =
    words.tense === 'did' || totals.untouched === 0
      ? ''
      : ` ${formatCount(totals.untouched)} ${totals.untouched === 1 ? 'stays as it is' : 'stay as they are'}.`
  return `${changes.join(', ')}.${stay}`
}

interface AnswerWords {
  answer: Answer
  label: string
  /** What it costs. */
  trap: string
}

export interface DecisionWords {
  question: string
  text: string
  answers: AnswerWords[]
}

const tablesOf = (found: readonly Finding[]) => [...new Set(found.map(({ table }) => table))]
const countOf = (found: readonly Finding[]) => found.reduce((sum, { count }) => sum + count, 0)

/** Puts a decision into words for the owner of a tenant. */
export function describeDecision({ kind, found }: Decision): DecisionWords {
  const rows = countOf(found)
  const tables = tablesOf(found)
  const theRows = rows === 1 ? 'this row' : 'these rows'
  const it = rows === 1 ? 'it' : 'they'
  const subject = formatPlural(rows, 'row')
  switch (kind) {
    case 'missing_user':
      return {
        question: `${subject} ${rows === 1 ? 'belongs' : 'belong'} to people who no longer have an account.`,
        text: 'A restore brings back rows, not accounts.',
        answers: [
          {
            answer: 'empty',
            label: 'Leave the person empty',
            trap: `${capital(theRows)} ${rows === 1 ? 'comes' : 'come'} back without saying whose ${it} ${rows === 1 ? 'was' : 'were'}.`,
          },
          {
            answer: 'leave_out',
            label: `Leave ${theRows} out`,
            trap: `${capital(it)} ${rows === 1 ? 'stays' : 'stay'} in the backup.`,
          },
        ],
      }
    case 'missing_reference':
      return {
        question: `${subject} ${rows === 1 ? 'refers' : 'refer'} to others that are gone and were not chosen.`,
        text: 'A row can come back only with what it refers to, or without the link.',
        answers: [
          {
            answer: 'bring',
            label: 'Bring those back too',
            trap: 'From the same backup, and no more of them than needed.',
          },
          {
            answer: 'empty',
            label: 'Leave the link empty',
            trap: `${capital(theRows)} ${rows === 1 ? 'comes' : 'come'} back without what ${it} referred to.`,
          },
          {
            answer: 'leave_out',
            label: `Leave ${theRows} out`,
            trap: `${capital(it)} ${rows === 1 ? 'stays' : 'stay'} in the backup.`,
          },
        ],
      }
    case 'key_taken':
      return {
        question: `A number, name or key of ${subject} is used by another row now.`,
        text: 'Two rows can not have it at the same time.',
        answers: [
          {
            answer: 'leave_out',
            label: `Leave ${theRows} out`,
            trap: `What is there today stays; ${it} ${rows === 1 ? 'stays' : 'stay'} in the backup.`,
          },
          {
            answer: 'keep_value',
            label: "Restore the rest and keep today's value",
            trap: 'Rows that still exist keep that one value; missing ones are left out.',
          },
        ],
      }
    case 'referenced':
      return {
        question: `${subject} would be removed or get another key, but others that stay refer to ${rows === 1 ? 'it' : 'them'}.`,
        text: 'Removing what others refer to would break them.',
        answers: [
          {
            answer: 'keep',
            label: `Keep ${theRows} as ${it} ${rows === 1 ? 'is' : 'are'}`,
            trap: 'Everything else is restored.',
          },
        ],
      }
    case 'access_changes':
      return {
        question: `${subject} would give people or keys access again.`,
        text: `In ${nameTables(tables)}: members, roles, keys or invitations that were taken away since.`,
        answers: [
          {
            answer: 'leave_table',
            label: 'Do not give access back',
            trap: `${nameTables(tables)} ${tables.length === 1 ? 'stays' : 'stay'} as today, with nothing restored there.`,
          },
          {
            answer: 'accept',
            label: 'Give access back',
            trap: 'Whoever had access then has it again, also those you removed on purpose.',
          },
        ],
      }
    case 'dropped':
      return describeDropped(found)
    case 'changed_type': {
      const { table, column } = readChange(found[0]?.constraint)
      return {
        question: `The column ${column} of ${nameTable(table)} holds another kind of value now.`,
        text: 'Nobody can say for you whether the values of then still make sense.',
        answers: [
          {
            answer: 'accept',
            label: 'Convert the values',
            trap: 'If one of them can not be read as the new kind, nothing is restored.',
          },
          {
            answer: 'leave_table',
            label: `Leave ${nameTable(table)} out`,
            trap: 'It stays as today, and stays in the backup.',
          },
        ],
      }
    }
    case 'side_effects':
      return {
        question: `A rule in the database would act on ${subject} while they are written.`,
        text: `In ${nameTables(tables)}. It can not be held back by a restore, and might send, count or change something.`,
        answers: [
          {
            answer: 'stop',
            label: 'Do not restore like this',
            trap: 'Ask your administrator to switch the rule off for a moment.',
          },
          {
            answer: 'accept',
            label: 'Restore and let it act',
            trap: 'Only where you know what it does.',
          },
        ],
      }
    case 'row_refused':
      return {
        question: `${subject} of ${nameTables(tables)} no longer ${rows === 1 ? 'meets' : 'meet'} a rule that the table has today.`,
        text: 'A check, a length or a required value was added since the backup.',
        answers: [
          {
            answer: 'stop',
            label: 'Do not restore like this',
            trap: 'Ask your administrator to relax the rule for a moment.',
          },
          {
            answer: 'leave_table',
            label: `Leave ${nameTables(tables)} out`,
            trap: 'It stays as today, and stays in the backup.',
          },
        ],
      }
    case 'actor_locked_out':
      return {
        question: 'You would lose your own access.',
        text: 'Your membership is newer than this backup, or was another one then.',
        answers: [
          {
            answer: 'leave_table',
            label: `Leave ${nameTables(tables)} as today`,
            trap: 'Everything else is restored. An operator can restore the rest.',
          },
        ],
      }
    case 'undo_conflict':
      return {
        question: `${subject} that the restore wrote ${rows === 1 ? 'was' : 'were'} changed again since, or ${rows === 1 ? 'is' : 'are'} needed by newer ones.`,
        text: `In ${nameTables(tables)}.`,
        answers: [
          {
            answer: 'keep',
            label: `Keep ${theRows} as ${it} ${rows === 1 ? 'is' : 'are'} now`,
            trap: 'The rest of the restore is taken back.',
          },
          {
            answer: 'take_back',
            label: `Take ${theRows} back all the same`,
            trap: 'What was changed in them since is lost; the new safety backup keeps it.',
          },
        ],
      }
  }
}

function describeDropped(found: readonly Finding[]): DecisionWords {
  const { what, table, column } = readChange(found[0]?.constraint)
  const isTable = what === 'dropped_table'
  return {
    question: isTable
      ? `The table ${nameTable(table)} no longer exists.`
      : `The column ${column} of ${nameTable(table)} no longer exists.`,
    text: 'It was removed or renamed since the backup.',
    answers: [
      {
        answer: 'accept',
        label: 'Leave it out',
        trap: `Its ${isTable ? 'rows' : 'values'} stay in the backup; everything else is restored.`,
      },
      {
        answer: 'stop',
        label: 'Do not restore without it',
        trap: 'Ask your administrator where it went.',
      },
    ],
  }
}

/** `dropped_column:customers.fax`, taken apart. */
export function readChange(name: string | null | undefined): {
  what: string
  table: string
  column: string
} {
  const [what = '', place = ''] = (name ?? '').split(/:(.*)/s)
  if (what.endsWith('_table')) return { what, table: place, column: '' }
  const dot = place.lastIndexOf('.')
  return { what, table: place.slice(0, dot), column: place.slice(dot + 1) }
}

/** A change of the schema that loses nothing, as a note; null where the note is a decision of its own. */
export function describeSchemaNote({ name, isLossy, message }: SchemaChange): string | null {
  if (isLossy) return null
  const { what, table, column } = readChange(name)
  if (what === 'added_table') {
    return `${nameTable(table)} is newer than this backup and is left as it is.`
  }
  if (what === 'added_column') {
    const fallback = message.endsWith('null.')
      ? 'rows that come back have it empty'
      : message.endsWith('its default.')
        ? 'rows that come back get its usual value'
        : 'rows that come back have none, which may be refused'
    return `The column ${column} of ${nameTable(table)} is new since then: rows that are there keep today’s value, ${fallback}.`
  }
  if (what === 'changed_type') {
    return `The column ${column} of ${nameTable(table)} holds more than it did; every value of then fits.`
  }
  return message
}

/** What nothing on this page settles, and why. */
export function describeObstacle({ code, table, count, message }: Blocker): string {
  const name = nameTable(table)
  const rows = formatPlural(count, 'row')
  switch (code) {
    case 'row_outside_tenant':
      return `${rows} of ${name} would belong to nobody, or to somebody else, as things are now. Choose the tables that they belong to as well. If you did, do not use this backup, and tell your administrator.`
    case 'read_only_table':
      return `${name} can not be written: nothing says for certain whose its rows are. Leave it out.`
    case 'actor_locked_out':
      return 'You would lose your own access. Ask an operator to do this.'
    case 'side_effects':
      return `A rule in the database would act on ${rows} of ${name} and can not be held back. Ask your administrator to switch it off for a moment.`
    case 'row_refused':
      return `${rows} of ${name} no longer meet a rule that the table has today. Ask your administrator to relax it for a moment.`
    case 'access_changes':
      return `${rows} of ${name} would give access again that was taken away since. Ask an operator to do this.`
    case 'schema_changed':
      return `${name} was changed since in a way that loses something. Ask your administrator.`
    default:
      return `${name}: ${message}`
  }
}

const NOTES: readonly [RegExp, (rows: string, isOne: boolean) => string][] = [
  [
    /^\d+ rows were passed over: what they point at/,
    (rows, isOne) => `${rows} left out: what ${isOne ? 'it refers' : 'they refer'} to is gone.`,
  ],
  [
    /^\d+ rows were passed over:/,
    (rows) => `${rows} left out: another row uses the same value now.`,
  ],
  [
    /^\d+ rows lose what they pointed at/,
    (rows, isOne) =>
      `${rows} with an empty link: what ${isOne ? 'it' : 'they'} referred to is gone.`,
  ],
  [
    /^\d+ rows are brought back although not asked for/,
    (rows, isOne) => `${rows} brought back too, because others refer to ${isOne ? 'it' : 'them'}.`,
  ],
  [
    /^\d+ rows stay as they are: rows that stay refer/,
    (rows, isOne) => `${rows} kept, because others refer to ${isOne ? 'it' : 'them'}.`,
  ],
  [
    /^\d+ rows: .* is held by another row now/,
    (rows) => `${rows} keep today’s value, or are left out: another row uses it now.`,
  ],
  [
    /^\d+ rows point at nothing by/,
    (rows, isOne) => `${rows} ${isOne ? 'refers' : 'refer'} to something that is gone, as before.`,
  ],
  [
    /^\d+ rows that nobody owns stand in the way/,
    (rows) => `${rows} that belong to nobody are put aside; an undo brings them back.`,
  ],
  [
    /^Rows of .* differ and are left as they are/,
    () => 'Differs, and is left alone: nothing says for certain whose its rows are.',
  ],
]

/** What the service notes about a table, without its technical names. */
export function describeNote(message: string): string {
  const count = Number(/\d+/.exec(message)?.[0] ?? 0)
  const known = NOTES.find(([pattern]) => pattern.test(message))
  return known === undefined ? message : known[1](formatPlural(count, 'row'), count === 1)
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

interface Words {
  title: string
  text: string
}

/** Failures that mean something of their own on the way to a restore. Nothing was written in any of them. */
const FAILURES: Record<string, Words> = {
  tenant_busy: {
    title: 'Another backup or restore is running',
    text: 'Yours was not started. Wait until the other one is done, then try again.',
  },
  plan_stale: {
    title: 'Your data changed since validation',
    text: 'Nothing was written. Validate again to see what would happen now.',
  },
  plan_required: {
    title: 'This was not validated yet',
    text: 'Nothing was written. Validate first, and look at what would happen.',
  },
  backup_not_found: {
    title: 'This backup is not there',
    text: 'It may have been pruned, or the address is of somebody else. Nothing was changed. Choose another backup.',
  },
  backup_incomplete: {
    title: 'This backup is not complete',
    text: 'Only complete backups can be restored. Nothing was changed. Choose another backup.',
  },
  backup_damaged: {
    title: 'This backup does not match its signature',
    text: 'It can not be used. Nothing was changed. Choose another backup, and tell your administrator.',
  },
  object_missing: {
    title: 'A part of this backup is missing',
    text: 'It can not be used. Nothing was changed. Choose another backup, and tell your administrator.',
  },
  row_outside_tenant: {
    title: 'This backup holds rows that are not yours',
    text: 'Nothing was changed. Do not use it, and tell your administrator.',
  },
  rows_hidden: {
    title: 'The safety backup could not be taken',
    text: 'An access rule hides rows from it, so the restore did not start and nothing was changed. Your administrator must look at it.',
  },
  confinement_broken: {
    title: 'A protection of your data is not as it should be',
    text: 'Nothing was read or changed. Your administrator must look at it.',
  },
  tenant_changing: {
    title: 'Your data kept changing',
    text: 'People wrote to the same rows each of the three times that it was tried. Nothing was changed. Try again at a quieter moment.',
  },
  table_busy: {
    title: 'A table was in use without a pause',
    text: 'Nothing was changed. Try again in a few minutes.',
  },
  table_locked: {
    title: 'A table is being altered',
    text: 'Nothing was changed. Try again in a few minutes.',
  },
  registry_changed: {
    title: 'The tables were altered meanwhile',
    text: 'Nothing was changed. Try again.',
  },
  restore_blocked: {
    title: 'Something stands in the way that was not there before',
    text: 'Nothing was changed. Validate again to see it.',
  },
  schema_changed: {
    title: 'The tables were altered since validation',
    text: 'Nothing was changed. Validate again to see what it means.',
  },
  restore_too_long: {
    title: 'This is too large for this page',
    text: 'Nothing was changed. Ask your administrator to do it from the command line, which has no limit of time; or choose fewer tables.',
  },
  backup_timed_out: {
    title: 'It was not done in the time it had',
    text: 'Nothing was changed. Choose fewer tables, or ask your administrator to do it from the command line.',
  },
  backup_cancelled: {
    title: 'It was stopped before it was done',
    text: 'Nothing was changed. Try again.',
  },
  restore_not_found: {
    title: 'There is no such restore',
    text: 'The address may be of somebody else. Nothing was changed.',
  },
  undo_impossible: {
    title: 'Undo is no longer possible',
    text: 'It was undone already, or its safety backup is gone. Nothing was changed.',
  },
  run_not_found: {
    title: 'There is no such restore',
    text: 'The address may be old, or of somebody else.',
  },
  store_unavailable: {
    title: 'The storage for backups could not be reached',
    text: 'Nothing was changed. Try again in a few minutes.',
  },
  database_unavailable: {
    title: 'The database could not be reached',
    text: 'Nothing was changed. Try again in a few minutes.',
  },
  not_allowed: {
    title: 'You have no right to do this',
    text: 'Only owners and admins can restore. Nothing was changed.',
  },
  not_signed_in: {
    title: 'You were signed out',
    text: 'Sign in again; your choices are kept.',
  },
  offline: {
    title: 'The service did not answer',
    text: 'Nothing was written. Check your connection and try again.',
  },
  nothing_left: {
    title: 'These answers leave nothing to restore',
    text: 'Nothing was written. Give another answer, or choose differently.',
  },
}

/** Reasons of the service that say more than its code: why an undo is not possible. */
const WHY_NOT: readonly [RegExp, string][] = [
  [/undone already/, 'It was undone already. Nothing was changed.'],
  [/wrote nothing/, 'That restore changed nothing, so there is nothing to take back.'],
  [/safety backup is/, 'Its safety backup was pruned. Nothing was changed.'],
]

/** Puts a failure on the way to a restore or an undo into words. `what` is the headline of last resort. */
export function describeRestoreFailure(error: unknown, what: string): ErrorWords {
  const code = error instanceof RequestFailed ? error.code : ''
  const words = FAILURES[code]
  if (words === undefined || !(error instanceof RequestFailed)) return describeError(error, what)
  const reason = WHY_NOT.find(
    ([pattern]) => code === 'undo_impossible' && pattern.test(error.message),
  )
  return { title: words.title, text: reason?.[1] ?? words.text, requestId: error.requestId }
}
