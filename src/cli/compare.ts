import { type Command, InvalidArgumentError, Option } from 'commander'
import * as z from 'zod'
import type { Comparison, RowDifference } from '../core/compare/comparison.ts'
import { listDifferences } from '../core/compare/comparison-record.ts'
import {
  describeTable,
  isDifferent,
  reportComparison,
  reportDifference,
} from '../core/compare/report-comparison.ts'
import { runComparison } from '../core/compare/run-comparison.ts'
import { BackupError } from '../core/errors.ts'
import type { Actor, Services } from '../core/services.ts'
import { findTenant } from '../core/tenants/find-tenant.ts'
import { EXIT } from './exit-status.ts'
import { formatCount, formatTable, printable } from './format-text.ts'
import {
  addCommonFlags,
  type CommandContext,
  type CommandResult,
  collect,
  type Runner,
  toBackupId,
} from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface CompareFlags extends ConnectionFlags {
  tenant: string
  backup?: string
  date?: string
  with: string
  table?: string[]
  rows?: boolean
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }

/** `compare`: what differs between a backup and the live rows, or another backup. */
export function registerCompare(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('compare')
      .description('compare a backup with the live rows or with another backup, row by row')
      .requiredOption('--tenant <id>', 'whose rows')
      .option('--backup <id>', 'the backup', toBackupId)
      .addOption(
        new Option('--date <day>', 'its newest complete backup of this day, UTC: 2026-11-21')
          .argParser(toDay)
          .conflicts('backup'),
      )
      .option('--with <live|id>', 'the live rows, or another backup', toOther, 'live')
      .option('--table <name>', 'only this table (repeatable)', collect)
      .option('--rows', 'print the rows that differ, too')
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<CompareFlags>((context, flags) => {
      if (flags.backup === undefined && flags.date === undefined) {
        throw new BackupError('invalid_request', 'Say which backup: --backup ID or --date DAY.')
      }
      return withServices(flags, context.env, (services) => compare(services, context, flags))
    }),
  )
}

async function compare(
  services: Services,
  { progress, signal }: CommandContext,
  flags: CompareFlags,
): Promise<CommandResult> {
  const { catalog } = services.tenants
  const tenant = await findTenant(catalog, flags.tenant)
  if (tenant === null) {
    throw new BackupError('tenant_not_found', `There is no tenant ${flags.tenant}.`)
  }
  const { runId, comparison } = await runComparison(services, {
    tenantId: tenant.id,
    tenantName: tenant.name,
    backup: { backupId: flags.backup, backupDate: flags.date },
    against: flags.with,
    tables: flags.table ?? null,
    actor: ACTOR,
    onProgress: ({ phase, table, rowsDone, rowsTotal }) => {
      if (table === null) return
      const group = phase === 'staging' ? 'read from the backup' : 'digested'
      progress.update({ group, name: table, done: rowsDone, total: rowsTotal, unit: 'rows' })
    },
    signal,
  })
  progress.end()
  const rows = flags.rows === true ? await readAll(services, runId) : null
  return {
    status: comparison.isEqual ? EXIT.done : EXIT.failed,
    document: {
      run_id: runId,
      organization_id: tenant.id,
      organization_name: tenant.name,
      ...reportComparison(comparison),
      ...(rows === null ? {} : { rows: rows.map(reportDifference) }),
    },
    text: [
      describeSides(comparison),
      describeTables(comparison),
      ...comparison.tables.flatMap(describeTable).map(printable),
      ...comparison.warnings.map(({ message }) => `Warning: ${printable(message)}`),
      ...(rows === null ? [] : describeRows(comparison, rows)),
      reportComparison(comparison).message,
    ].join('\n'),
  }
}

async function readAll(services: Services, runId: string): Promise<RowDifference[]> {
  const all: RowDifference[] = []
  let cursor: number | null = 0
  while (cursor !== null) {
    const page = await listDifferences(services.tenants.catalog, { runId, cursor, limit: 500 })
    all.push(...page.rows)
    cursor = page.nextCursor
  }
  return all
}

function describeSides({ backupId, takenAt, otherBackupId, otherTakenAt }: Comparison): string {
  const side = (id: string | null, at: string) =>
    `${id === null ? 'the live rows' : `backup ${id}`} of ${at.slice(0, 19).replace('T', ' ')} UTC`
  const there = side(otherBackupId, otherTakenAt)
  return `${side(backupId, takenAt)}, against ${there}`.replace(/^b/, 'B')
}

/** Those that differ; the others are a number. */
function describeTables({ tables, otherBackupId }: Comparison): string {
  const different = tables.filter(isDifferent)
  const equal = tables.length - different.length
  const other = otherBackupId === null ? 'live' : 'other'
  const headings = [
    'table',
    'in backup',
    other,
    'only in backup',
    `only ${other}`,
    'changed',
    'equal',
  ]
  const lines = different.map((table) => [
    table.name,
    table.rowsInBackup,
    table.rowsInOther,
    ...(table.isCompared
      ? [table.onlyInBackup, table.onlyInOther, table.changed, table.equal]
      : ['?', '?', '?', '?']),
  ])
  return [
    ...(different.length === 0 ? [] : [formatTable(headings, lines)]),
    ...(equal === 0
      ? []
      : [`${formatCount(equal)} ${equal === 1 ? 'table is' : 'tables are'} equal.`]),
  ].join('\n')
}

function describeRows({ tables }: Comparison, rows: readonly RowDifference[]): string[] {
  const words = {
    only_in_backup: 'only in the backup',
    only_in_other: 'not in the backup',
    changed: 'changed',
  }
  const lines = rows.flatMap((row) => {
    const key = row.key.map((text) => text ?? '(masked)').join(', ')
    const label = row.label === null || row.label === key ? '' : ` (${row.label})`
    const times = row.times === 1 ? '' : `, ${formatCount(row.times)} times`
    return [
      '',
      printable(`${row.table} ${key}${label}: ${words[row.kind]}${times}`.replace(' :', ':')),
      ...row.columns.map((column) => `    ${printable(describeColumn(row, column))}`),
    ]
  })
  const differing = tables.reduce(
    (total, table) =>
      table.presence === 'both'
        ? total + table.onlyInBackup + table.onlyInOther + table.changed
        : total,
    0,
  )
  const shown = rows.reduce((total, row) => total + row.times, 0)
  const missing = differing - shown
  return [
    ...lines,
    '',
    ...(missing > 0 ? [`${formatCount(missing)} more rows differ; narrow it with --table.`] : []),
  ]
}

function describeColumn(row: RowDifference, column: RowDifference['columns'][number]): string {
  const { name, before, after, is_masked: isMasked } = column
  if (isMasked) return `${name}: ${row.kind === 'changed' ? 'differs ' : ''}(masked)`
  const text = (value: string | null) => value ?? 'null'
  if (row.kind === 'only_in_backup') return `${name}: ${text(before)}`
  if (row.kind === 'only_in_other') return `${name}: ${text(after)}`
  return `${name}: ${text(before)} → ${text(after)}`
}

function toOther(text: string): string {
  return text === 'live' ? text : toBackupId(text)
}

function toDay(text: string): string {
  if (!z.iso.date().safeParse(text).success) {
    throw new InvalidArgumentError('It must be a day like 2026-11-21.')
  }
  return text
}
