import { countAll, describeOutcome } from '../core/jobs/report-restore.ts'
import type { RestoreRun } from '../core/jobs/restore-run.ts'
import type {
  Blocker,
  RestoreProgress,
  RestoreResult,
  TableResult,
} from '../core/restore/restore-result.ts'
import { formatCount, formatTable } from './format-text.ts'
import type { Progress } from './progress.ts'

/** What a restore would do or did, table by table, with everything that a person has to hear. */
export function describeRestore({ task }: RestoreRun, result: RestoreResult): string[] {
  const { tables, blockers, schemaChanges, warnings } = result
  const touched = tables.filter(isTouched)
  return [
    ...describeTables(touched),
    ...describeUntouched(tables.length - touched.length, touched.length),
    ...tables.flatMap(({ name, warnings: own }) => own.map((text) => `Warning: ${name}: ${text}`)),
    ...warnings.map(({ message }) => `Warning: ${message}`),
    ...schemaChanges
      .filter(({ message }) => !warnings.some((warning) => warning.message === message))
      .map(
        ({ name, message, isLossy }) =>
          `Schema${isLossy ? ', loses something' : ''}: ${message} (${name})`,
      ),
    ...result.accessChanges.map(
      ({ table, count }) => `Access: ${rowsOf(count)} of ${table} would give somebody access again`,
    ),
    ...blockers.flatMap(describeBlocker),
    ...result.tables.flatMap(describeSamples),
    describeOutcomeForPeople(task, result),
  ]
}

function describeOutcomeForPeople(task: RestoreRun['task'], result: RestoreResult): string {
  if (result.blockers.length === 0) return describeOutcome(task, result)
  const count = result.blockers.length
  return `Can’t be done as asked: ${count === 1 ? 'one thing stands' : `${count} things stand`} in the way. Nothing was changed.`
}

/** Whether anything would be written at all. */
export function changesNothing(result: RestoreResult): boolean {
  const { rows_inserted, rows_updated, rows_deleted } = countAll(result)
  return rows_inserted + rows_updated + rows_deleted === 0
}

function isTouched({ inserted, updated, deleted, kept, skipped }: TableResult): boolean {
  return inserted + updated + deleted + kept + skipped > 0
}

function describeTables(tables: readonly TableResult[]): string[] {
  if (tables.length === 0) return []
  const headings = [
    ...['table', 'in backup', 'live', 'insert', 'update', 'delete', 'unchanged', 'kept', 'skipped'],
  ]
  const rows = tables.map((table) => [
    table.name,
    ...[table.rowsInBackup, table.rowsLive, table.inserted, table.updated, table.deleted],
    ...[table.unchanged, table.kept, table.skipped],
  ])
  return formatTable(headings, rows).split('\n')
}

function describeUntouched(untouched: number, touched: number): string[] {
  if (untouched === 0) return []
  const tables = untouched === 1 ? 'table is' : 'tables are'
  return [`${formatCount(untouched)} ${touched === 0 ? '' : 'other '}${tables} as in the backup.`]
}

function describeBlocker({ table, constraint, count, keys, message }: Blocker): string[] {
  const shown = keys.slice(0, 5).map((key) => key.join(', '))
  const which =
    shown.length === 0 ? '' : `: ${shown.join('; ')}${count > shown.length ? '; …' : ''}`
  return [
    `BLOCKED: ${table}${constraint === null ? '' : ` (${constraint})`}: ${message}`,
    ...(count === 0 ? [] : [`    ${rowsOf(count)}${which}`]),
  ]
}

function describeSamples({ name, samples }: TableResult): string[] {
  return samples.flatMap(({ kind, key, label, columns }) => [
    `${name}: ${kind} ${label ?? key.join(', ')}`,
    ...columns.map(({ name: column, before, after, isMasked }) =>
      isMasked
        ? `    ${column}: differs (not shown)`
        : `    ${column}: ${before ?? 'null'} -> ${after ?? 'null'}`,
    ),
  ])
}

function rowsOf(count: number): string {
  return count === 1 ? '1 row' : `${formatCount(count)} rows`
}

const PHASES: Record<RestoreProgress['phase'], string> = {
  locking: 'waiting for the tables',
  comparing: 'comparing',
  safety_backup: 'safety backup',
  staging: 'loading',
  planning: 'planning',
  writing: 'writing',
  proving: 'proving',
  finishing: 'finishing',
}

/** Draws the steps of a restore: a bar per table and phase, a line for a phase about no table. */
export function showSteps(progress: Progress, title: string) {
  let phase: RestoreProgress['phase'] | undefined
  return (step: RestoreProgress) => {
    const name = PHASES[step.phase]
    if (step.table === null && step.phase !== phase) progress.say(`${title}: ${name}`)
    phase = step.phase
    if (step.table === null) return
    const { rowsDone: done, rowsTotal: total } = step
    progress.update({ group: title, name: `${name} ${step.table}`, done, total, unit: 'rows' })
  }
}
