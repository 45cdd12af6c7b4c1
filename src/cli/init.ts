import { randomUUID } from 'node:crypto'
import { open, rename, unlink } from 'node:fs/promises'
import type { Command } from 'commander'
import { connectDatabase } from '../core/database/connect-database.ts'
import type { Database } from '../core/database/database.ts'
import { BackupError } from '../core/errors.ts'
import {
  initialiseProtection,
  type ProtectionOptions,
  type ProtectionReport,
} from '../core/tables/initialise-protection.ts'
import { setWorkerPassword, workerUrl } from '../core/tables/set-worker-password.ts'
import { EXIT } from './exit-status.ts'
import { formatTable } from './format-text.ts'
import { addCommonFlags, type CommandResult, collect, type Runner } from './run-command.ts'
import { requireSessionMode } from './settings.ts'

interface InitFlags {
  dbUrl?: string
  tenantTable: string
  tenantColumn: string[]
  tenantNameColumn?: string
  schema?: string[]
  exclude?: string[]
  shared?: string[]
  owned?: string[]
  custom?: string[]
  enableRls?: boolean
  dryRun?: boolean
  workerUrlOut?: string
}

/** `init`: takes a host application under protection, or lists what it needs to know first. */
export function registerInit(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('init')
      .description('find out which rows belong to a tenant, and confine the backup to them')
      .option('--db-url <url>', 'the database as its owner, «postgres» on Supabase (ADMIN_DB_URL)')
      .requiredOption(
        '--tenant-table <table>',
        'the table with one row a tenant: public.organizations',
      )
      .requiredOption(
        '--tenant-column <column>',
        "a column that holds a tenant's id (repeatable)",
        collect,
      )
      .option(
        '--tenant-name-column <column>',
        'the column of the tenant table that people know it by',
      )
      .option('--schema <schema>', 'a schema to protect (repeatable)', collect)
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
      .option('--enable-rls', 'switch row level security on where it is off')
      .option('--dry-run', 'look and report; write nothing')
      .option(
        '--worker-url-out <file>',
        "give the worker's login a new password; write its URL to this file",
      ),
  ).action(
    run<InitFlags>(async ({ env }, flags) => {
      const url = flags.dbUrl ?? env.ADMIN_DB_URL
      if (url === undefined || url === '') {
        throw new BackupError(
          'not_configured',
          'No database is given. Set --db-url (or ADMIN_DB_URL) to the database URL of its owner, «postgres» on Supabase.',
        )
      }
      requireSessionMode(url)
      const admin = connectDatabase({ url, dataSessions: 1, applicationName: 'tenantkeep init' })
      try {
        const report = await initialiseProtection(admin, toOptions(flags))
        const isWorkerReady = report.isApplied && flags.workerUrlOut !== undefined
        if (isWorkerReady) await writeWorkerUrl(admin, url, flags.workerUrlOut)
        return describe(report, flags, isWorkerReady)
      } finally {
        await admin.close()
      }
    }),
  )
}

function toOptions(flags: InitFlags): ProtectionOptions {
  return {
    tenantTable: flags.tenantTable,
    tenantColumns: flags.tenantColumn,
    ...(flags.tenantNameColumn === undefined ? {} : { tenantNameColumn: flags.tenantNameColumn }),
    ...(flags.schema === undefined ? {} : { schemas: flags.schema }),
    answers: {
      excluded: flags.exclude ?? [],
      shared: flags.shared ?? [],
      owned: flags.owned ?? [],
      custom: flags.custom ?? [],
    },
    enableRowSecurity: flags.enableRls === true,
    dryRun: flags.dryRun === true,
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

function describe(
  report: ProtectionReport,
  flags: InitFlags,
  isWorkerReady: boolean,
): CommandResult {
  const isUnsettled = report.unsettled.length > 0
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
        state: table.state,
      })),
      unsettled: report.unsettled.map(({ schema, name, reason, flags: settling }) => ({
        schema,
        table: name,
        reason,
        flags: settling,
      })),
      vanished: report.vanished,
      ...(isWorkerReady ? { worker_url_file: flags.workerUrlOut } : {}),
    },
    text: [...describeTables(report), ...describeOutcome(report, flags, isWorkerReady)].join('\n'),
  }
}

function describeTables(report: ProtectionReport): string[] {
  const rows = report.tables.map((table) => [
    `${table.schema}.${table.name}`,
    table.class,
    table.rows,
    table.rowsWithoutTenant === null ? '?' : table.rowsWithoutTenant,
    table.state,
    table.path,
  ])
  return [formatTable(['table', 'class', 'rows', 'of no tenant', 'state', 'path'], rows), '']
}

function describeOutcome(
  report: ProtectionReport,
  flags: InitFlags,
  isWorkerReady: boolean,
): string[] {
  const lines = report.vanished.map((table) => `${table} was registered and is gone.`)
  for (const table of report.unsettled) {
    lines.push(`${table.schema}.${table.name}: ${table.reason}`)
    lines.push(...table.flags.map((flag) => `    ${flag}`))
  }
  if (report.unsettled.length > 0) {
    lines.push('', 'Nothing was written. Run init again with one flag for each of these.')
  } else if (flags.dryRun === true) {
    lines.push('Nothing was written (--dry-run). Every table is settled.')
  } else {
    lines.push(`Under protection: ${report.tables.length} tables.`)
  }
  if (isWorkerReady) {
    lines.push(`The URL for SUPABASE_DB_URL is in ${flags.workerUrlOut}; earlier passwords ended.`)
  }
  return lines
}
