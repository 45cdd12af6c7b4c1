import { DEFAULT_OPTIONS, type RestoreOptions } from '../restore/restore-options.ts'
import type { RunTask } from './restore-task.ts'

/** The command line that does this task without a function's limits. Keys of single rows are left for people to add. */
export function restoreCommand(tenantId: string, task: RunTask): string {
  const words =
    task.kind === 'undo'
      ? ['undo', '--tenant', tenantId, '--restore', task.restore_id, ...undoFlags(task)]
      : [
          ...['restore', '--tenant', tenantId],
          ...['--backup', task.backup_id ?? 'BACKUP-ID'],
          ...optionFlags(task.options),
        ]
  return ['npm run -s tenantkeep --', ...words.map(quote)].join(' ')
}

function undoFlags(task: Extract<RunTask, { kind: 'undo' }>): string[] {
  return [
    ...(task.everything ? ['--everything'] : []),
    ...(task.on_conflict === 'fail' ? [] : ['--on-conflict', task.on_conflict]),
  ]
}

/** The flags of the options that are not as they are by default. */
function optionFlags(options: RestoreOptions): string[] {
  const choices = (
    [
      ['--missing', 'missing'],
      ['--changed', 'changed'],
      ['--newer', 'newer'],
      ['--history', 'history'],
      ['--on-missing-user', 'on_missing_user'],
      ['--on-missing-reference', 'on_missing_reference'],
      ['--on-taken', 'on_taken'],
      ['--on-referenced', 'on_referenced'],
    ] as const
  ).flatMap(([flag, name]) =>
    options[name] === DEFAULT_OPTIONS[name] ? [] : [flag, options[name].replace('_', '-')],
  )
  return [
    ...(options.tables ?? []).flatMap((table) => ['--table', table]),
    ...(options.rows === null ? [] : ['--row', 'TABLE:COLUMN=VALUE']),
    ...choices,
    ...(options.accept_access_changes ? ['--accept-access-changes'] : []),
    ...options.accept_schema_changes.flatMap((name) => ['--accept-schema-change', name]),
    ...(options.accept_side_effects ? ['--accept-side-effects'] : []),
  ]
}

/** As a shell takes it for one word. */
function quote(word: string): string {
  return /^[\w.:,=@%/+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
