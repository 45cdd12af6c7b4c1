import { readFile } from 'node:fs/promises'
import { Argument, type Command, Option } from 'commander'
import * as z from 'zod'
import { listDefaultTables, readDefaultRows } from '../core/defaults/default-rows.ts'
import { SeedDecision, SeedOptions, type SeedResult } from '../core/defaults/seed-types.ts'
import { BackupError } from '../core/errors.ts'
import { reportSeedRun } from '../core/jobs/report-seed.ts'
import { runSeeding } from '../core/jobs/run-seed.ts'
import type { SeedRun, SeedTask } from '../core/jobs/seed-run.ts'
import type { Actor, Services } from '../core/services.ts'
import { askForWord } from './ask-word.ts'
import { EXIT } from './exit-status.ts'
import { formatTable, printable } from './format-text.ts'
import { addPlanFlags, type PlanFlags } from './restore-with-plan.ts'
import { toRowKey } from './row-key.ts'
import {
  addCommonFlags,
  type CommandContext,
  type CommandResult,
  collect,
  type Runner,
} from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface DefaultsFlags extends ConnectionFlags, PlanFlags {
  tenant?: string[]
  all?: boolean
  table?: string[]
  row?: string[]
  manualRows?: string
  mode: SeedOptions['mode']
  decide?: string[]
  decisions?: string
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }
const ROWS_SHOWN = 200

/** `defaults`: the rows that new tenants start with, how tenants stand against them, and seeding. */
export function registerDefaults(program: Command, run: Runner): void {
  addCommonFlags(
    addPlanFlags(
      program
        .command('defaults')
        .description(
          'show the rows that new tenants start with; how a tenant differs from them; seed tenants',
        )
        .addArgument(
          new Argument('<what>', 'show, diff (needs --tenant), or seed').choices([
            ...['show', 'diff', 'seed'],
          ]),
        )
        .option('--tenant <id>', 'whom (repeatable)', collect)
        .option('--all', 'every active tenant but the template')
        .option('--table <name>', 'only this table (repeatable)', collect)
        .option('--row <table:column=value>', 'only this row of the template (repeatable)', collect)
        .option(
          '--manual-rows <file>',
          'seed these rows as well: JSON, {"table": [{"column": value}]}',
        )
        .addOption(
          new Option('--mode <mode>', 'what happens to copies that are there already')
            .choices(['missing', 'update', 'overwrite'])
            .default('missing'),
        )
        .option(
          '--decide <[table:]case=decision>',
          'what to do with rows that need a decision (repeatable)',
          collect,
        )
        .option('--decisions <file>', 'the same as JSON, down to single rows')
        .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
        .option('--store <url>', 'where backups live (BACKUP_STORE)'),
    ),
  ).action(
    run<DefaultsFlags>(async (context, flags, [what]) => {
      const work = {
        show: (services: Services) => show(services, flags),
        diff: async (services: Services) => diff(services, context, flags),
        seed: async (services: Services) => seed(services, context, flags),
      }[z.enum(['show', 'diff', 'seed']).parse(what)]
      return withServices(flags, context.env, work, { dataSessions: 6 })
    }),
  )
}

async function show(services: Services, { table: chosen }: DefaultsFlags): Promise<CommandResult> {
  const { template, tables } = await listDefaultTables(services)
  const title = `Defaults: ${printable(template.name ?? template.id)} (${template.id})`
  if (chosen === undefined) {
    const rows = tables.map(({ name, rows: count, unreadable, columns }) => [
      name,
      count ?? `not readable: ${unreadable}`,
      columns.length,
    ])
    return {
      document: {
        template: { organization_id: template.id, organization_name: template.name },
        tables: tables.map(({ name, rows: count, unreadable }) => ({
          name,
          rows: count,
          unreadable,
        })),
      },
      text:
        rows.length === 0
          ? `${title}\nNo table is marked as seeded. Mark some in the answers file ("marks": {"seeded": true}), then run init --answers.`
          : `${title}\n${formatTable(['table', 'rows', 'columns'], rows)}`,
    }
  }
  const shown = await Promise.all(
    chosen.map(async (table) => ({
      table,
      ...(await readDefaultRows(services, { table, offset: 0, limit: ROWS_SHOWN })),
    })),
  )
  return {
    document: {
      template: { organization_id: template.id, organization_name: template.name },
      tables: shown.map(({ table, rows, total }) => ({ name: table, total, rows })),
    },
    text: [
      title,
      ...shown.map(({ table, rows, total, columns }) => {
        const names = columns.filter(({ isMasked }) => !isMasked).map(({ name }) => name)
        const cells = rows.map(({ values }) => names.map((name) => values[name] ?? ''))
        const more = total > rows.length ? `\n… and ${total - rows.length} more` : ''
        return `\n${table}\n${formatTable(names.map(printable), cells)}${more}`
      }),
    ].join('\n'),
  }
}

/** How the tenants stand against the template: what every case is, row counts only. */
async function diff(
  services: Services,
  context: CommandContext,
  flags: DefaultsFlags,
): Promise<CommandResult> {
  const task = { ...(await toTask(flags)), dry_run: true, plan_hash: null }
  const run = await runTask(services, context, flags, task)
  const isEqual = run.tenants.every(
    ({ result }) =>
      result?.tables.every(({ cases }) =>
        Object.keys(cases).every((name) => name === 'unchanged'),
      ) === true,
  )
  return { ...tell(run), ...(isEqual ? {} : { status: EXIT.failed }) }
}

async function seed(
  services: Services,
  context: CommandContext,
  flags: DefaultsFlags,
): Promise<CommandResult> {
  const task = await toTask(flags)
  const rehearsal = await runTask(services, context, flags, {
    ...{ ...task, dry_run: true, plan_hash: null },
  })
  const told = tell(rehearsal)
  if (flags.dryRun === true) return told
  if (flags.planHash !== undefined && flags.planHash !== rehearsal.planHash) {
    throw new BackupError(
      'plan_stale',
      'The seeding would not do what the plan of this hash said. Look at the new plan with --dry-run.',
    )
  }
  // Of one tenant nothing can be done then; of many the others can.
  if (told.status !== undefined && rehearsal.tenants.length === 1) {
    return { ...told, status: EXIT.refused }
  }
  for (const line of told.text.split('\n')) context.progress.say(line)
  if (flags.yes !== true) {
    await askForWord('This seeds the tenants as shown above.', 'seed', context.signal)
  }
  const done = await runTask(services, context, flags, {
    ...{ ...task, dry_run: false, plan_hash: rehearsal.planHash, samples: 0 },
  })
  const [only, ...others] = done.tenants
  if (only?.error != null && others.length === 0) {
    const { code, message, details } = only.error
    throw new BackupError(code, message, details === undefined ? {} : { details })
  }
  return tell(done)
}

async function runTask(
  services: Services,
  context: CommandContext,
  { tenant, all }: DefaultsFlags,
  task: SeedTask,
): Promise<SeedRun> {
  if ((tenant === undefined) === (all !== true)) {
    throw new BackupError('invalid_request', 'Say whom: --tenant ID (repeatable), or --all.')
  }
  const run = await runSeeding(services, {
    actor: ACTOR,
    tenantIds: tenant ?? 'all',
    task,
    needsPlan: false,
    time: null,
    onProgress: ({ phase, table }) =>
      table === null ? context.progress.say(phase.replaceAll('_', ' ')) : undefined,
    signal: context.signal,
  })
  context.progress.end()
  return run
}

async function toTask(flags: DefaultsFlags): Promise<SeedTask> {
  const options = SeedOptions.safeParse({
    tables: flags.table ?? null,
    rows: toRows(flags.row),
    manual_rows:
      flags.manualRows === undefined ? null : await readJson(flags.manualRows, '--manual-rows'),
    mode: flags.mode,
    decisions: [
      ...(flags.decide ?? []).map(toDecision),
      ...z
        .array(z.unknown())
        .parse(flags.decisions === undefined ? [] : await readJson(flags.decisions, '--decisions')),
    ],
  })
  if (!options.success) {
    throw new BackupError('invalid_request', z.prettifyError(options.error).replaceAll('\n', ' '))
  }
  return {
    kind: 'seed',
    options: options.data,
    dry_run: flags.dryRun === true,
    plan_hash: flags.planHash ?? null,
    note: flags.note ?? null,
    samples: flags.dryRun === true ? flags.samples : 0,
  }
}

/** `--decide`: `natural_key_taken=keep`, or `customers:both_changed=overwrite`. */
function toDecision(text: string): SeedDecision {
  const equals = text.lastIndexOf('=')
  const colon = text.lastIndexOf(':', equals)
  const decision = SeedDecision.safeParse({
    table: colon < 0 ? null : text.slice(0, colon),
    case: text.slice(colon + 1, equals),
    decision: text.slice(equals + 1),
  })
  if (decision.success) return decision.data
  throw new BackupError(
    'invalid_request',
    `--decide "${text}" must be like natural_key_taken=keep, or customers:both_changed=overwrite. Cases and decisions are in docs/defaults.md.`,
  )
}

function toRows(given: readonly string[] | undefined): SeedOptions['rows'] {
  if (given === undefined) return null
  const byTable = Map.groupBy(given.map(toRowKey), ({ table }) => table)
  return Object.fromEntries(
    [...byTable].map(([table, rows]) => [table, rows.map(({ key }) => key)]),
  )
}

async function readJson(file: string, flag: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'))
  } catch (cause) {
    throw new BackupError('invalid_request', `${flag}: ${file} cannot be read as JSON.`, { cause })
  }
}

function tell(run: SeedRun): CommandResult {
  const { success, ...document } = reportSeedRun(run)
  return {
    ...(success ? {} : { status: EXIT.failed }),
    document,
    text: [
      ...run.tenants.flatMap(({ tenantId, tenantName, result, error }) => [
        `${tenantName ?? tenantId}:`,
        ...(error === null ? [] : [`  ${error.message} (${error.code})`]),
        ...(result === null ? [] : describeResult(result)),
      ]),
      document.message,
    ]
      .map((line) => line.split('\n').map(printable).join('\n'))
      .join('\n'),
  }
}

function describeResult(result: SeedResult): string[] {
  const touched = result.tables.filter(
    ({ inserted, updated, adopted, cases, manual }) =>
      inserted + updated + adopted + manual > 0 ||
      Object.keys(cases).some((name) => name !== 'unchanged'),
  )
  const rows = touched.map((table) => [
    table.name,
    ...[table.rowsInTemplate, table.inserted, table.updated, table.adopted],
    Object.entries(table.cases)
      .map(([name, count]) => `${count} ${name.replaceAll('_', ' ')}`)
      .join(', '),
  ])
  return [
    ...(rows.length === 0
      ? ['  Every default is there as it should be.']
      : formatTable(
          ['table', 'template', 'insert', 'update', 'adopt', 'rows of the template'],
          rows,
        )
          .split('\n')
          .map((line) => `  ${line}`)),
    ...result.conflicts.map(
      ({ table, case: what, label, key }) =>
        `  CONFLICT: ${table}: ${label ?? key.join(', ')}: ${what.replaceAll('_', ' ')}`,
    ),
    ...(result.conflictCount > result.conflicts.length
      ? [`  … and ${result.conflictCount - result.conflicts.length} more conflicts`]
      : []),
    ...result.blockers.map(({ table, message }) => `  BLOCKED: ${table}: ${message}`),
    ...result.badRows.map(
      ({ table, index, column, reason }) =>
        `  BAD ROW: ${table}[${index}]${column === null ? '' : `.${column}`}: ${reason}`,
    ),
    ...result.warnings.map(({ message }) => `  Warning: ${message}`),
    ...result.tables.flatMap(({ name, warnings }) =>
      warnings.map((message) => `  Warning: ${name}: ${message}`),
    ),
    ...(result.safetyBackupId === null
      ? []
      : [`  The tenant as it was before: backup ${result.safetyBackupId}.`]),
  ]
}
