import { randomUUID } from 'node:crypto'
import type { Connection, Queryable } from '../database/database.ts'
import { sqlstateOf } from '../database/sqlstates.ts'
import { seedTenant } from '../defaults/seed-tenant.ts'
import type { SeedOptions, SeedProgress, SeedResult } from '../defaults/seed-types.ts'
import { BackupError } from '../errors.ts'
import {
  completeActionRun,
  failActionRun,
  findActionRun,
  startActionRun,
} from '../jobs/action-run.ts'
import { trimResult } from '../jobs/report-seed.ts'
import { asWorker } from '../restore/as-worker.ts'
import type { Actor, Services } from '../services.ts'
import type { ProtectedTable } from '../tables/protected-table.ts'
import { quoteIdentifier } from '../tables/quote-identifier.ts'
import { readProtectedTables } from '../tables/read-protected-tables.ts'
import { requireTemplateTenant } from './find-template-tenant.ts'
import { recordRefusal } from './record-refusal.ts'
import { computeTenantId, findBadColumns, type TenantColumns } from './tenant-columns.ts'

export interface CreateTenantInput {
  actor: Actor
  /** The tenant's own row. */
  columns: TenantColumns
  /** Which defaults; all of them unless told. */
  options: SeedOptions
  /** Does everything and rolls it back. */
  isDryRun: boolean
  note?: string | null
  idempotencyKey?: string | undefined
  onProgress?: (progress: SeedProgress) => void
  signal?: AbortSignal
}

export interface CreatedTenant {
  isDryRun: boolean
  /** Null for a dry run. */
  runId: string | null
  tenantId: string
  tenantName: string | null
  /** Null where only the answer was lost, and the counts with it. */
  seed: SeedResult | null
}

/**
 * Makes a tenant: its own row and its defaults, in one transaction, so that a seeding that fails leaves
 * nothing. Throws `invalid_request` with every column that is wrong, `not_configured` where there is no
 * template, and what a seeding throws. Every attempt but a rehearsal is in the journal.
 */
export async function createTenant(
  services: Services,
  input: CreateTenantInput,
): Promise<CreatedTenant> {
  const { catalog } = services.tenants
  const { actor, columns, options, isDryRun } = input
  const asked = { columns, options, isDryRun }
  const request = { kind: 'create_tenant' as const, actor, asked }
  const known = await findActionRun<CreatedTenant>(
    catalog,
    { ...request, idempotencyKey: input.idempotencyKey },
    async (_, tenantId) => ({
      ...(await nameOf(catalog, tenantId)),
      isDryRun,
      runId: null,
      seed: null,
    }),
  )
  if (known?.result != null) return { ...known.result, runId: known.runId }

  const scope = { columns: Object.keys(columns), tables: options.tables, dry_run: isDryRun }
  const { root, keyColumn, tenantId } = await prepare(services, input).catch(async (error) => {
    if (error instanceof BackupError) {
      await recordRefusal(catalog, {
        ...{ type: 'create_tenant', actor, tenantId: null, note: input.note ?? null, scope, error },
      })
    }
    throw error
  })
  const name = nameIn(columns, root)
  const run = isDryRun
    ? null
    : await startActionRun(catalog, {
        ...{ ...request, tenantId, tenantName: name },
        idempotencyKey: input.idempotencyKey,
      })
  const journalId = randomUUID()
  try {
    if (run !== null) {
      await recordStart(catalog, { id: journalId, runId: run, tenantId, name, input, scope })
    }
    const seed = await seedTenant(services, {
      tenantId,
      options,
      isDryRun,
      actor,
      runId: run,
      note: input.note ?? null,
      createTenant: async (session) => {
        await insertRow(session, root, { ...columns, [keyColumn]: columns[keyColumn] ?? tenantId })
        if (run !== null) await asWorker(session, () => recordComplete(session, journalId))
      },
      ...(input.onProgress === undefined ? {} : { onProgress: input.onProgress }),
      ...(input.signal === undefined ? {} : { signal: input.signal }),
    })
    const created = { ...(await nameOf(catalog, tenantId)), isDryRun, runId: run, seed }
    if (run === null) return { ...created, tenantName: created.tenantName ?? name }
    await completeActionRun(catalog, run, { ...created, seed: trimResult(seed) })
    return created
  } catch (error) {
    const failure = toFailure(error)
    if (run !== null && (await recordFailed(services, journalId, failure))) {
      // Only the answer to the commit was lost.
      const created = { ...(await nameOf(catalog, tenantId)), isDryRun, runId: run, seed: null }
      await completeActionRun(catalog, run, created)
      return created
    }
    if (run !== null) await failActionRun(catalog, run, failure)
    throw failure
  }
}

interface Prepared {
  root: ProtectedTable
  keyColumn: string
  tenantId: string
}

/** Everything that can be known before the transaction. */
async function prepare({ tenants }: Services, { columns }: CreateTenantInput): Promise<Prepared> {
  const { catalog } = tenants
  const root = (await readProtectedTables(catalog)).find((table) => table.class === 'root')
  const { rows } = await catalog.query<{ key: string }>(
    `select value ->> 'key' as key from tenantkeep.settings where key = 'tenant_table'`,
  )
  const keyColumn = rows[0]?.key
  if (root === undefined || keyColumn === undefined || !root.isWritable) {
    throw new BackupError(
      'not_configured',
      'No tenant table is known in this database, or it may only be read. Run `tenantkeep init` first.',
    )
  }
  await requireTemplateTenant(catalog)
  const tenantId = await catalog.withConnection((session) =>
    asOperator(session, async () => {
      const bad = await findBadColumns(session, root, keyColumn, columns)
      if (bad.length > 0) throw badColumns(root, bad)
      return computeTenantId(session, root, keyColumn, columns)
    }),
  )
  const { rowCount } = await catalog.query(
    'select from tenantkeep.list_tenants() where tenant_id = $1',
    [tenantId],
  )
  if (rowCount > 0) {
    throw new BackupError('invalid_request', `There is an organization ${tenantId} already.`)
  }
  return { root, keyColumn, tenantId }
}

function badColumns(
  root: ProtectedTable,
  bad: readonly { column: string; reason: string }[],
): BackupError {
  const list = bad.map(({ column, reason }) => `${column}: ${reason}`).join('; ')
  return new BackupError(
    'invalid_request',
    `This can’t be a row of ${root.label}. ${list}. Nothing was written.`,
    { details: { columns: bad } },
  )
}

/** As the operator, under no tenant; nothing is kept but what sequences gave. */
async function asOperator<T>(session: Connection, use: () => Promise<T>): Promise<T> {
  await session.query('begin; set local role tenantkeep_operator')
  const result = await use()
  await session.query('rollback')
  return result
}

async function insertRow(
  session: Queryable,
  root: ProtectedTable,
  columns: TenantColumns,
): Promise<void> {
  const names = Object.keys(columns).map(quoteIdentifier)
  try {
    await session.query(
      `insert into ${root.relation} (${names.join(', ')}) overriding system value
       select ${names.map((name) => `p.${name}`).join(', ')}
       from json_populate_record(null::${root.relation}, $1::json) as p`,
      [JSON.stringify(columns)],
    )
  } catch (error) {
    const state = sqlstateOf(error)
    if (state === undefined || !/^(22|23|42501|44|P0)/.test(state)) throw error
    const by = constraintOf(error)
    const words: Record<string, string> = {
      '23505': 'another row has one of these values already',
      '23503': 'a value refers to a row that is not there',
      '42501': 'a trigger or policy of the table asks for what the role tenantkeep_operator lacks',
    }
    throw new BackupError(
      'invalid_request',
      `The database refuses the row of ${root.label}${by === null ? '' : ` (${by})`}: ${words[state] ?? `it does not meet what the table asks of its rows (${state})`}. Nothing was written.`,
      { cause: error, details: { constraint: by, state } },
    )
  }
}

function constraintOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null
  if ('constraint' in error && typeof error.constraint === 'string') return error.constraint
  return error.cause === undefined ? null : constraintOf(error.cause)
}

async function nameOf(
  catalog: Queryable,
  tenantId: string,
): Promise<{ tenantId: string; tenantName: string | null }> {
  const { rows } = await catalog.query<{ name: string | null }>(
    'select tenant_name as name from tenantkeep.list_tenants() where tenant_id = $1',
    [tenantId],
  )
  return { tenantId, tenantName: rows[0]?.name ?? null }
}

/** What people will call it, as far as the request says. */
function nameIn(columns: TenantColumns, root: ProtectedTable): string | null {
  const name = columns[root.labelColumns[0] ?? 'name']
  return typeof name === 'string' ? name : null
}

async function recordStart(
  catalog: Queryable,
  given: {
    id: string
    runId: string
    tenantId: string
    name: string | null
    input: CreateTenantInput
    scope: object
  },
): Promise<void> {
  const { actor, note } = given.input
  await catalog.query(
    `insert into public.backup_logs (id, backup_type, organization_id, organization_name, run_id, note,
       actor_kind, actor_id, actor_label, details)
     values ($1, 'create_tenant', $2, $3, $4, $5, $6, $7, $8, $9)`,
    [
      given.id,
      given.tenantId,
      given.name,
      given.runId,
      note ?? null,
      actor.kind,
      actor.id,
      actor.label,
      JSON.stringify({ scope: given.scope }),
    ],
  )
}

/** In the transaction that makes the tenant: the row says `complete` if and only if the tenant is there. */
async function recordComplete(session: Queryable, id: string): Promise<void> {
  const { rowCount } = await session.query(
    `update public.backup_logs set status = 'complete', completed_at = clock_timestamp(), total_records = 1,
       total_tables = 1, duration_ms = extract(epoch from clock_timestamp() - created_at) * 1000
     where id = $1 and status = 'running'`,
    [id],
  )
  if (rowCount !== 1) {
    throw new BackupError('backup_cancelled', 'The journal does not know this attempt any more.')
  }
}

/** Whether it turns out to be done. */
async function recordFailed(
  { tenants, log }: Services,
  id: string,
  { code, message }: BackupError,
): Promise<boolean> {
  try {
    await tenants.catalog.query(
      `update public.backup_logs set status = 'failed', completed_at = now(), error_code = $2, error_message = $3
       where id = $1 and status = 'running'`,
      [id, code, message],
    )
    const { rows } = await tenants.catalog.query<{ status: string }>(
      'select status from public.backup_logs where id = $1',
      [id],
    )
    return rows[0]?.status === 'complete'
  } catch (error) {
    log.error({ err: error, journalId: id }, 'A failed attempt could not be recorded')
    return false
  }
}

function toFailure(error: unknown): BackupError {
  if (error instanceof BackupError) return error
  return new BackupError(
    'internal',
    'The tenant could not be made, for a reason that was not foreseen. Nothing was written. The log of this process has the details.',
    { cause: error },
  )
}
