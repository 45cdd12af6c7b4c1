import type { Command } from 'commander'
import * as z from 'zod'
import { SeedOptions } from '../core/defaults/seed-types.ts'
import { BackupError } from '../core/errors.ts'
import { createTenant } from '../core/tenants/create-tenant.ts'
import type { TenantColumns } from '../core/tenants/tenant-columns.ts'
import { EXIT } from './exit-status.ts'
import { printable } from './format-text.ts'
import { addCommonFlags, collect, type Runner } from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface CreateFlags extends ConnectionFlags {
  columns: TenantColumns
  table?: string[]
  dryRun?: boolean
  note?: string
  idempotencyKey?: string
}

/** `create-tenant`: the tenant's own row and its defaults, all or nothing. */
export function registerCreateTenant(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('create-tenant')
      .description('make a tenant with its defaults, all or nothing')
      .requiredOption('--columns <json>', 'its own row: {"name": "Delta Gas"}', toColumns)
      .option('--table <name>', 'only the defaults of this table (repeatable)', collect)
      .option('--dry-run', 'try it and take it back')
      .option('--note <text>', 'why, for the history')
      .option('--idempotency-key <key>', 'the same key again makes no second tenant')
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<CreateFlags>(async ({ env, signal }, flags) =>
      withServices(flags, env, async (services) => {
        const { tenantId, tenantName, isDryRun, seed, runId } = await createTenant(services, {
          actor: { kind: 'operator', id: null, label: 'command line' },
          columns: flags.columns,
          options: SeedOptions.parse({ tables: flags.table ?? null }),
          isDryRun: flags.dryRun === true,
          note: flags.note ?? null,
          idempotencyKey: flags.idempotencyKey,
          signal,
        })
        const inserted = seed?.tables.reduce((sum, table) => sum + table.inserted, 0) ?? 0
        const obstacles = [
          ...(seed?.blockers.map(({ table, message }) => `BLOCKED: ${table}: ${message}`) ?? []),
          ...(seed?.badRows.map(({ table, reason }) => `BAD ROW: ${table}: ${reason}`) ?? []),
        ]
        return {
          ...(obstacles.length === 0 ? {} : { status: EXIT.failed }),
          document: {
            organization_id: isDryRun ? null : tenantId,
            organization_name: tenantName,
            dry_run: isDryRun,
            run_id: runId,
            rows_inserted: inserted,
            tables:
              seed?.tables.map(({ name, inserted: rows }) => ({ name, inserted: rows })) ?? [],
            blockers: seed?.blockers ?? [],
          },
          text: [
            ...obstacles,
            isDryRun
              ? `${tenantName ?? 'The tenant'} would get ${inserted} default rows. Nothing was written.`
              : `${tenantName ?? 'The tenant'} is there, with ${inserted} default rows: ${tenantId}`,
          ]
            .map(printable)
            .join('\n'),
        }
      }),
    ),
  )
}

function toColumns(text: string): TenantColumns {
  try {
    return z.record(z.string(), z.json()).parse(JSON.parse(text))
  } catch (cause) {
    throw new BackupError(
      'invalid_request',
      '--columns must be a JSON object of values by column, like {"name": "Delta Gas"}.',
      { cause },
    )
  }
}
