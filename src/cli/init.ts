import { randomUUID } from 'node:crypto'
import { open, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { connectDatabase } from '../core/database/connect-database.ts'
import type { Database } from '../core/database/database.ts'
import { BackupError } from '../core/errors.ts'
import type { Question } from '../core/tables/group-questions.ts'
import {
  initialiseProtection,
  type ProtectionOptions,
  type ProtectionReport,
  type ReportedTable,
} from '../core/tables/initialise-protection.ts'
import { type AnswersDocument, addAnswer, parseAnswers } from '../core/tables/read-answers.ts'
import { setWorkerPassword, workerUrl } from '../core/tables/set-worker-password.ts'
import { requireAdminUrl } from './admin-database.ts'
import { type AskPerson, askOnTerminal } from './ask-questions.ts'
import { EXIT } from './exit-status.ts'
import { formatTable, printable } from './format-text.ts'
import { addCommonFlags, type CommandResult, collect, type Runner } from './run-command.ts'

/** Where answers given on a terminal go, unless `--answers` says otherwise. */
const ANSWERS_FILE = 'tenantkeep.json'

interface InitFlags {
  dbUrl?: string
  tenantTable?: string
  tenantColumn?: string[]
  tenantNameColumn?: string
  schema?: string[]
  answers?: string
  answer?: string[]
  yes?: boolean
  exclude?: string[]
  shared?: string[]
  owned?: string[]
  custom?: string[]
  subtenants?: string
  templateTenant?: string
  enableRls?: boolean
  dryRun?: boolean
  emit?: string
  workerUrlOut?: string
  json?: boolean
}

/** `init`: takes a host application under protection, or asks what it needs to know first. */
export function registerInit(
  program: Command,
  run: Runner,
  askPerson: AskPerson = askOnTerminal,
): void {
  addCommonFlags(
    program
      .command('init')
      .description('find out which rows belong to a tenant, and confine the backup to them')
      .option('--db-url <url>', 'the database as its owner, «postgres» on Supabase (ADMIN_DB_URL)')
      .option('--tenant-table <table>', 'the table with one row a tenant: public.organizations')
      .option('--tenant-column <column>', "a column that holds a tenant's id (repeatable)", collect)
      .option(
        '--tenant-name-column <column>',
        'the column of the tenant table that people know it by',
      )
      .option('--schema <schema>', 'a schema to protect (repeatable)', collect)
      .option(
        '--answers <file>',
        'the answers file, tenantkeep.json: read if it is there, and written with what is answered',
      )
      .option('--answer <question=option>', 'the answer to a question (repeatable)', collect)
      .option('--yes', 'answer every question that has a default with it')
      .option(
        '--exclude <table=reason>',
        'leave a table out, with the reason (repeatable)',
        collect,
      )
      .option('--shared <table>', 'a table that all tenants share (repeatable)', collect)
      .option(
        '--owned <t.col=owner.col>',
        'a table owned through another one (repeatable)',
        collect,
      )
      .option(
        '--custom <table=condition>',
        'a condition with {tenant}: the last resort (repeatable)',
        collect,
      )
      .option(
        '--subtenants <separate|included>',
        'whether a tenant below another one counts as a part of it',
      )
      .option('--template-tenant <id>', 'the tenant whose rows are what a new tenant starts with')
      .option('--enable-rls', 'switch row level security on where it is off')
      .option('--dry-run', 'look and report; write nothing')
      .option('--emit <file>', 'write the SQL to this file instead of running it')
      .option(
        '--worker-url-out <file>',
        "give the worker's login a new password; write its URL to this file",
      ),
  ).action(
    run<InitFlags>(async ({ env, progress }, flags) => {
      const document = await readDocument(flags.answers)
      const options = toOptions(flags, document)
      const url = requireAdminUrl(flags, env)
      const admin = connectDatabase({ url, dataSessions: 1, applicationName: 'tenantkeep init' })
      try {
        let report = await initialiseProtection(admin, options)
        let wasAsked = false
        while (flags.json !== true && report.questions.some(({ options: o }) => o.length > 0)) {
          progress.end()
          const answers = await askPerson(describeTables(report).join('\n'), report.questions)
          if (answers.length === 0) break
          wasAsked = true
          report = await initialiseProtection(admin, {
            ...options,
            document: answers.reduce(addAnswer, report.answers),
          })
        }
        const answersFile = flags.answers ?? (wasAsked ? ANSWERS_FILE : undefined)
        const isAnswersWritten =
          answersFile !== undefined &&
          (wasAsked || flags.dryRun !== true) &&
          (await writeDocument(answersFile, report.answers))
        if (report.sql !== undefined && flags.emit !== undefined) {
          await writeNew(flags.emit, report.sql, '--emit')
        }
        const isWorkerReady = report.isApplied && flags.workerUrlOut !== undefined
        if (isWorkerReady) await writeWorkerUrl(admin, url, flags.workerUrlOut)
        return describe(report, flags, {
          isWorkerReady,
          answersFile: isAnswersWritten ? answersFile : undefined,
        })
      } finally {
        await admin.close()
      }
    }),
  )
}

function toOptions(flags: InitFlags, document: AnswersDocument | undefined): ProtectionOptions {
  const tenantTable = flags.tenantTable ?? document?.tenant_table
  if (tenantTable === undefined) {
    throw new BackupError(
      'invalid_request',
      'Which table has one row a tenant? Say it with --tenant-table, or as "tenant_table" in the answers file.',
    )
  }
  const tenantColumns = flags.tenantColumn ?? document?.tenant_columns
  if (tenantColumns === undefined) {
    throw new BackupError(
      'invalid_request',
      'Under which name do other tables hold a tenant’s id? Say it with --tenant-column, or as "tenant_columns" in the answers file.',
    )
  }
  if (flags.emit !== undefined && flags.workerUrlOut !== undefined) {
    throw new BackupError(
      'invalid_request',
      '--worker-url-out needs a database under protection; run init without --emit for it, once the SQL is deployed.',
    )
  }
  const name = flags.tenantNameColumn ?? document?.tenant_name_column
  const schemas = flags.schema ?? document?.schemas
  return {
    tenantTable,
    tenantColumns,
    ...(name === undefined ? {} : { tenantNameColumn: name }),
    ...(schemas === undefined ? {} : { schemas }),
    ...(document === undefined ? {} : { document }),
    answers: {
      excluded: flags.exclude ?? [],
      shared: flags.shared ?? [],
      owned: flags.owned ?? [],
      custom: flags.custom ?? [],
    },
    choices: new Map((flags.answer ?? []).map(splitChoice)),
    acceptDefaults: flags.yes === true,
    ...readSubtenants(flags.subtenants),
    ...(flags.templateTenant === undefined ? {} : { templateTenant: flags.templateTenant }),
    enableRowSecurity: flags.enableRls === true,
    dryRun: flags.dryRun === true,
    emit: flags.emit !== undefined,
  }
}

function splitChoice(text: string): [string, string] {
  const [question, option, ...more] = text.split('=')
  if (question && option && more.length === 0) return [question, option]
  throw new BackupError('invalid_request', `--answer "${text}" must have the form question=option.`)
}

function readSubtenants(text: string | undefined): Pick<ProtectionOptions, 'subtenants'> {
  if (text === undefined) return {}
  if (text === 'separate' || text === 'included') return { subtenants: text }
  throw new BackupError('invalid_request', '--subtenants is separate or included.')
}

/** The answers file; undefined where none is named, or the one named is not there yet. */
async function readDocument(file: string | undefined): Promise<AnswersDocument | undefined> {
  if (file === undefined) return undefined
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined
    throw new BackupError('invalid_request', `--answers: ${file} cannot be read.`, { cause })
  })
  return text === undefined ? undefined : parseAnswers(text, file)
}

/** Writes the answers where they differ from what the file holds; whether it did. */
async function writeDocument(file: string, document: AnswersDocument): Promise<boolean> {
  const { version, tables, ...head } = document
  // In one order, so that the file changes only where an answer does.
  const sorted = Object.entries(tables ?? {}).sort(([a], [b]) => a.localeCompare(b, 'en'))
  const headings = Object.entries(head).sort(([a], [b]) => b.localeCompare(a, 'en'))
  const ordered = {
    version,
    ...Object.fromEntries(headings),
    ...(sorted.length === 0 ? {} : { tables: Object.fromEntries(sorted) }),
  }
  const text = `${JSON.stringify(ordered, null, 2)}\n`
  const before = await readFile(file, 'utf8').catch(() => '')
  if (before === text) return false
  await writeNew(file, text, '--answers')
  return true
}

/** In one step, so that nobody ever reads half of it. */
async function writeNew(file: string, text: string, flag: string): Promise<void> {
  const temporary = `${file}.${randomUUID()}.tmp`
  try {
    await writeFile(temporary, text, { flag: 'wx' })
    await rename(temporary, file)
  } catch (cause) {
    await unlink(temporary).catch(() => {})
    throw new BackupError('invalid_request', `${flag}: ${file} cannot be written.`, { cause })
  }
}

/** The file is opened first: a password that can't be written down would lock the worker out. */
async function writeWorkerUrl(admin: Database, adminUrl: string, path = ''): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`
  const file = await open(temporary, 'wx', 0o600).catch((cause: unknown) => {
    throw new BackupError(
      'invalid_request',
      `--worker-url-out: no file can be made at ${path}. The tables are under protection; run init again with another file.`,
      { cause },
    )
  })
  try {
    const password = await setWorkerPassword(admin)
    await file.writeFile(`${workerUrl(adminUrl, password)}\n`)
    await file.sync()
    await rename(temporary, path)
  } catch (error) {
    await unlink(temporary).catch(() => {})
    throw error
  } finally {
    await file.close()
  }
}

interface Written {
  isWorkerReady: boolean
  answersFile: string | undefined
}

function describe(report: ProtectionReport, flags: InitFlags, written: Written): CommandResult {
  const isUnsettled = report.questions.length > 0
  return {
    status: isUnsettled ? EXIT.answersNeeded : EXIT.done,
    document: {
      is_applied: report.isApplied,
      dry_run: flags.dryRun === true,
      tables: report.tables.map((table) => ({
        schema: table.schema,
        table: table.name,
        class: table.class,
        path: table.path,
        rows: table.rows,
        rows_without_tenant: table.rowsWithoutTenant,
        rows_of_two_tenants: table.rowsOfTwoTenants,
        null_tenant_rows: table.nullTenantRows,
        is_writable: table.isWritable,
        marks: {
          history: table.marks.isHistory,
          seeded: table.marks.isSeeded,
          keep_live: table.marks.keepLive,
          masked: table.marks.masked,
          label: table.marks.label,
        },
        notes: table.notes,
        state: table.state,
      })),
      questions: report.questions,
      unsettled: report.unsettled.map(({ schema, name, reason, flags: settling }) => ({
        schema,
        table: name,
        reason,
        flags: settling,
      })),
      vanished: report.vanished,
      notes: report.notes,
      answers: report.answers,
      ...(written.isWorkerReady ? { worker_url_file: flags.workerUrlOut } : {}),
      ...(written.answersFile === undefined ? {} : { answers_file: written.answersFile }),
      ...(report.sql === undefined ? {} : { emitted_to: flags.emit }),
    },
    text: [
      ...describeTables(report),
      ...describeNotes(report),
      ...describeQuestions(report),
      ...describeOutcome(report, flags, written),
    ].join('\n'),
  }
}

function describeTables(report: ProtectionReport): string[] {
  const rows = report.tables.map((table) => [
    `${table.schema}.${table.name}`,
    table.class,
    table.rows,
    describeCount(table, table.rowsWithoutTenant),
    describeCount(table, table.rowsOfTwoTenants),
    table.state,
    table.path,
    describeMarks(table),
  ])
  const headings = ['table', 'class', 'rows', 'of no tenant', 'of two', 'state', 'path', 'marks']
  return [formatTable(headings, rows), '']
}

/** Empty where the rows are no tenant's anyway, `?` where it can't be told. */
function describeCount({ class: kind }: ReportedTable, count: number | null): string | number {
  if (/^(shared|excluded|unclassified)$/.test(kind)) return ''
  return count ?? '?'
}

function describeMarks({ marks, isWritable, class: kind }: ReportedTable): string {
  const parts = [
    marks.isHistory ? 'history' : '',
    marks.isSeeded ? 'seeded' : '',
    marks.keepLive.length > 0 ? `keep_live ${marks.keepLive.join(', ')}` : '',
    marks.masked.length > 0 ? `masked ${marks.masked.join(', ')}` : '',
    marks.label.length > 0 ? `label ${marks.label.join(', ')}` : '',
    !isWritable && kind !== 'unclassified' ? 'read only' : '',
  ]
  return parts.filter((part) => part !== '').join('; ')
}

function describeNotes(report: ProtectionReport): string[] {
  const notes = [
    ...report.tables.flatMap((table) =>
      table.notes.map((note) => `${table.schema}.${table.name}: ${note}`),
    ),
    ...report.tables
      .filter((table) => (table.nullTenantRows ?? 0) > 0)
      .map(
        (table) =>
          `${table.schema}.${table.name}: ${table.nullTenantRows} rows have no tenant in their own column.`,
      ),
    ...report.notes,
  ]
  return notes.length === 0
    ? []
    : ['Good to know:', ...notes.map((note) => `  ${printable(note)}`), '']
}

/** Tables of a question that are shown one by one, each with what would settle it alone. */
const TABLES_SHOWN = 5
const EVIDENCE_SHOWN = 20

function describeQuestions(report: ProtectionReport): string[] {
  return report.questions.flatMap((question) => {
    const lines = [`Question ${question.id}: ${printable(question.text)}`]
    lines.push(...describeEvidence(question))
    if (question.tables.length <= TABLES_SHOWN) {
      for (const table of report.unsettled) {
        const name = `${table.schema}.${table.name}`
        if (!question.tables.includes(name)) continue
        lines.push(`${printable(name)}: ${printable(table.reason)}`)
        lines.push(...table.flags.map((flag) => `    ${printable(flag)}`))
      }
    } else {
      lines.push(`  tables: ${printable(question.tables.join(', '))}`)
    }
    for (const option of question.options) {
      const isDefault = option.answer === question.default
      lines.push(`  ${option.label}${isDefault ? ' (what we would say)' : ''}:`)
      lines.push(...option.flags.map((flag) => `    ${flag}`))
    }
    return [...lines, '']
  })
}

function describeEvidence(question: Question): string[] {
  const shown = question.evidence.slice(0, EVIDENCE_SHOWN).map((line) => `  ${printable(line)}`)
  const more = question.evidence.length - shown.length
  return more > 0 ? [...shown, `  … and ${more} more; --json has them all`] : shown
}

function describeOutcome(report: ProtectionReport, flags: InitFlags, written: Written): string[] {
  const lines = report.vanished.map((table) => `${table} was registered and is gone.`)
  if (report.questions.length > 0) {
    lines.push(
      'Nothing was written. Run init again with an answer to each question; --yes takes what we would say.',
    )
  } else if (report.sql !== undefined) {
    lines.push(`Nothing was run. The SQL is in ${flags.emit}.`)
  } else if (flags.dryRun === true) {
    lines.push('Nothing was written (--dry-run). Every table is settled.')
  } else {
    lines.push(`Under protection: ${report.tables.length} tables.`)
  }
  if (written.answersFile !== undefined) {
    lines.push(`The answers are in ${written.answersFile}; keep that file with the application.`)
  }
  if (written.isWorkerReady) {
    lines.push(`The URL for SUPABASE_DB_URL is in ${flags.workerUrlOut}; earlier passwords ended.`)
  }
  return lines
}
