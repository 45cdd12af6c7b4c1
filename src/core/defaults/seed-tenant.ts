import { randomUUID } from 'node:crypto'
import * as z from 'zod'
import { recordCrashes } from '../backup/backup-record.ts'
import { readBackupSettings } from '../backup/backup-settings.ts'
import { explainFailureOf } from '../backup/explain-failure.ts'
import { confineSession, openSnapshot, tenantNotFound } from '../backup/read-snapshot.ts'
import { copySafetyBackup, type SafetyBackup } from '../backup/take-safety-backup.ts'
import type { Connection, Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import {
  interruptible,
  interruptibleConnection,
  throwIfInterrupted,
  windDown,
} from '../interruptible.ts'
import { GuardMiss } from '../restore/apply-plan.ts'
import { asWorker } from '../restore/as-worker.ts'
import { describeShape, hashPlan, readPlanLines } from '../restore/describe-plan.ts'
import { storePlan } from '../restore/plan-document.ts'
import { recordRestoreCrashes } from '../restore/restore-record.ts'
import {
  holdShape,
  isWorthAnotherLook,
  LOOKS,
  lockRoot,
  ROOT_LOCK_MS,
  readLockTimeout,
} from '../restore/restore-tenant.ts'
import type { Actor, Services } from '../services.ts'
import { restorePlanPath } from '../store/object-path.ts'
import { requireTemplateTenant } from '../tenants/find-template-tenant.ts'
import { lockTenant } from '../tenants/lock-tenant.ts'
import { findSignedInNeeds } from './find-signed-in-needs.ts'
import { type CopyLook, hasOverwrites, lookAtCopies } from './look-at-copies.ts'
import { describeTables, readConflicts } from './read-conflicts.ts'
import { readTemplate } from './read-template.ts'
import {
  recordSeedComplete,
  recordSeedFailure,
  recordSeedStart,
  type SeedStart,
} from './seed-record.ts'
import type { SeedOptions, SeedProgress, SeedResult, SeedTableResult } from './seed-types.ts'
import { readBack, rememberCopies, type WriteResult, writeCopies } from './write-copies.ts'

export interface SeedInput {
  tenantId: string
  options: SeedOptions
  /** Does everything and rolls it back. */
  isDryRun: boolean
  /** Of the plan that was approved; a real run that would do anything else throws `plan_stale`. */
  planHash?: string | null
  actor: Actor
  runId?: string | null
  note?: string | null
  /** How many rows that are written to show per table; none by default. */
  sampleRows?: number
  onProgress?: (progress: SeedProgress) => void
  signal?: AbortSignal
  /** How long to wait for other work on the tenant; by default not at all. */
  waitMs?: number
  /**
   * For a tenant that is made in the same transaction: called first in it, as the operator confined to
   * `tenantId`, to insert the tenant's own row. What earlier tenants of this id were seeded with is forgotten.
   */
  createTenant?: (session: Queryable) => Promise<void>
}

interface Attempt {
  readonly start: SeedStart
  safety: SafetyBackup | undefined
  /** Set just before the commit, whose answer may be lost. */
  result: SeedResult | undefined
}

const RECORD_FAILURE_MS = 70_000

/**
 * Seeds one tenant with the rows of the template tenant, in one transaction; a dry run is the same, rolled
 * back. Throws `seed_conflict` (409) for rows that nobody decided about, `seed_blocked` (409) for what stands
 * in the way, `plan_stale`, `tenant_busy`, `tenant_not_found`, `tenant_changing`, `not_configured` where no
 * template is set, and what a backup can fail with; whatever it throws, nothing was written, and the attempt
 * is in the journal (`seed_defaults`), unless it was a dry run.
 */
export async function seedTenant(services: Services, input: SeedInput): Promise<SeedResult> {
  const { tenantId, signal, isDryRun } = input
  const { catalog } = services.tenants
  const attempt: Attempt = {
    start: {
      id: randomUUID(),
      tenantId,
      tenantName: null,
      runId: input.runId ?? null,
      note: input.note ?? null,
      actor: input.actor,
      details: describeRequest(input.options),
    },
    safety: undefined,
    result: undefined,
  }
  try {
    throwIfInterrupted(signal)
    const template = await interruptible(requireTemplateTenant(catalog), signal)
    if (template.id === tenantId) {
      throw new BackupError(
        'invalid_request',
        'The template tenant is not seeded with its own rows.',
      )
    }
    const database = await interruptible(services.tenants.databaseOf(tenantId), signal)
    const work = database.withConnection(async (connection) => {
      const session = interruptibleConnection(connection, signal)
      await lockTenant(session, tenantId, { waitMs: input.waitMs ?? 0, signal })
      attempt.start.tenantName = await readTenantName(session, tenantId)
      if (!isDryRun) {
        await interruptible(recordCrashes(catalog, tenantId), signal)
        await interruptible(recordRestoreCrashes(catalog, tenantId), signal)
        await interruptible(recordSeedStart(catalog, attempt.start), signal)
      }
      return lookAndWrite(services, session, { ...input, templateId: template.id }, attempt)
    })
    return await windDown(work, signal)
  } catch (error) {
    const failure = explainFailureOf('seeding', 'seeded', error)
    const done = isDryRun ? undefined : await recordFailed(services, attempt, failure)
    if (done !== undefined) return done
    throw failure
  }
}

type Given = SeedInput & { templateId: string }

async function lookAndWrite(
  services: Services,
  connection: Connection,
  input: Given,
  attempt: Attempt,
): Promise<SeedResult> {
  for (let looks = 1; ; looks += 1) {
    try {
      return await lookOnce(services, connection, input, { attempt, looks })
    } catch (error) {
      if (!isWorthAnotherLook(error)) throw error
      attempt.result = undefined
      await connection.query('rollback')
      await connection.query('discard temp')
      const changing = new BackupError(
        'tenant_changing',
        error instanceof GuardMiss
          ? 'Rows could not be written as planned: somebody writes to this tenant, or a trigger leaves rows out. Nothing was seeded. Try again at a quieter moment.'
          : `Somebody wrote to this tenant each of the ${LOOKS} times that it was looked at. Nothing was seeded. Try again at a quieter moment.`,
        { cause: error },
      )
      await attempt.safety?.cancel(changing)
      attempt.safety = undefined
      if (looks === LOOKS) throw changing
    }
  }
}

async function lookOnce(
  services: Services,
  connection: Connection,
  input: Given,
  { attempt, looks }: { attempt: Attempt; looks: number },
): Promise<SeedResult> {
  const { tenantId, templateId, options, isDryRun, signal } = input
  const { catalog } = services.tenants
  const tell = (phase: SeedProgress['phase'], table: string | null = null, done = 0, total = 0) =>
    input.onProgress?.({ phase, table, rowsDone: done, rowsTotal: total })
  tell('locking')
  const settings = await interruptible(readBackupSettings(catalog), signal)
  const firesTriggers = await interruptible(readFiresTriggers(catalog), signal)
  tell('reading_template')
  const template = await readTemplate(connection, {
    templateId,
    tenantId,
    options,
    lockTimeoutMs: settings.lock_timeout_ms,
  })
  tell('planning')
  const isNew = input.createTenant !== undefined
  const snapshot = await openSnapshot(connection, {
    tenantId,
    lockTimeoutMs: settings.lock_timeout_ms,
    isReadOnly: false,
    mayBeMissing: isNew,
  })
  if (input.createTenant !== undefined) await createFirst(connection, input.createTenant, tenantId)
  const look = await lookAtCopies(connection, snapshot, { tenantId, template, options })
  const conflicts = await readConflicts(connection, look, options.mode)
  const tables = await describeTables(connection, look, input.sampleRows ?? 0)
  const needs = await findSignedInNeeds(
    connection,
    look.written.map(({ live }) => live),
  )
  const warnings = [
    ...template.warnings,
    ...needs
      .filter(({ kind }) => kind === 'default' || firesTriggers)
      .map(({ table, name, kind }) => ({
        code: 'needs_signed_in_user',
        message:
          kind === 'trigger'
            ? `The trigger ${name} on ${table} asks who is signed in; a seeding is done by nobody who is.`
            : `The default of ${table}.${name} asks who is signed in; a seeding is done by nobody who is.`,
      })),
  ]
  const result: SeedResult = {
    isDryRun,
    tenantId,
    templateId,
    seedId: isDryRun ? null : attempt.start.id,
    safetyBackupId: null,
    planHash: look.planHash,
    tables,
    conflicts,
    conflictCount: look.conflictCount,
    blockers: look.blockers,
    badRows: look.badRows,
    warnings,
    looks,
  }
  if (!isDryRun) refuse(result, input)
  const overwrites = !isDryRun && (await hasOverwrites(connection, look))
  if (overwrites) {
    attempt.safety = await copySafetyBackup(services, connection, snapshot, {
      tenantId,
      tenantName: attempt.start.tenantName,
      actor: input.actor,
      runId: input.runId ?? null,
      note: input.note ?? null,
      signal,
      onProgress: ({ table, rowsDone, rowsTotal }) =>
        tell('safety_backup', table, rowsDone, rowsTotal),
    })
    result.safetyBackupId = attempt.safety.id
  }
  const lockTimeoutMs = await beginWriting(connection, { input, look, firesTriggers, attempt })
  tell('writing')
  const done = await writeCopies(connection, {
    look,
    tenantId,
    seedId: attempt.start.id,
    firesTriggers,
    isDryRun,
    isLast: looks === LOOKS,
    lockTimeoutMs,
    onTable: (label, rowsDone, rowsTotal) => tell('writing', label, rowsDone, rowsTotal),
  })
  tell('proving')
  addWritten(result, done)
  if (isDryRun) {
    await connection.query('rollback')
    return result
  }
  refuse(result, input)
  tell('finishing')
  await finish(services, connection, { input, look, attempt, result })
  attempt.result = result
  await connection.query('commit')
  return result
}

/** The tenant's own row is the first that is written in the transaction that seeds it. */
async function createFirst(
  connection: Connection,
  createTenant: (session: Queryable) => Promise<void>,
  tenantId: string,
): Promise<void> {
  await connection.query(
    'delete from tenantkeep.seeded_rows where tenant_id = (select tenantkeep.current_tenant())',
  )
  await createTenant(connection)
  const { rows } = await connection.query<{ isConfined: boolean }>(
    `select tenantkeep.current_tenant() = $1 and current_user = 'tenantkeep_operator' as "isConfined"`,
    [tenantId],
  )
  if (rows[0]?.isConfined !== true) throw tenantNotFound(tenantId)
}

/**
 * Opens the second transaction, which acts on the present; a tenant that was made in the first is seeded there,
 * since nobody else can see it. Returns the lock time-out that applies from then on.
 */
async function beginWriting(
  connection: Connection,
  given: { input: Given; look: CopyLook; firesTriggers: boolean; attempt: Attempt },
): Promise<number> {
  const { input, look, firesTriggers, attempt } = given
  const held = {
    snapshot: look.snapshot,
    tables: new Map(look.written.map((table) => [table.live.label, table])),
  }
  const silence = 'select tenantkeep.silence_triggers()'
  if (input.createTenant !== undefined) {
    if (!firesTriggers) await asWorker(connection, () => connection.query(silence))
    const lockTimeoutMs = await readLockTimeout(connection)
    await holdShape(connection, held)
    return lockTimeoutMs
  }
  await connection.query('commit')
  if (attempt.safety !== undefined) {
    await attempt.safety.proveEncoding(connection)
    await attempt.safety.complete()
  }
  const lockTimeoutMs = await readLockTimeout(connection)
  await connection.query(
    `begin isolation level read committed read write; set local lock_timeout = ${ROOT_LOCK_MS}`,
  )
  if (!firesTriggers) await connection.query(silence)
  await confineSession(connection, input.tenantId, {
    isolation: 'read committed',
    isReadOnly: false,
  })
  await holdShape(connection, held)
  await lockRoot(connection, held)
  await connection.query(`set local lock_timeout = ${lockTimeoutMs}`)
  return lockTimeoutMs
}

/** Memory, plan and journal, in the transaction that wrote. */
async function finish(
  services: Services,
  connection: Connection,
  given: { input: Given; look: CopyLook; attempt: Attempt; result: SeedResult },
): Promise<void> {
  const { input, look, attempt, result } = given
  const shapes = await asWorker(connection, () => recordShapes(connection, look))
  const lost = await rememberCopies(connection, {
    look,
    shapes,
    seedId: attempt.start.id,
    runId: input.runId ?? null,
  })
  if (lost.length > 0) {
    throw new BackupError(
      'seed_blocked',
      `Copies in ${lost.join(', ')} are not found by the keys that they were written with: a trigger gives rows other keys, or leaves them out. Nothing was written. Set seed_fires_triggers to false, or take the mark of these tables away.`,
      { details: { tables: lost } },
    )
  }
  const undo = await recordPlan(services, connection, given)
  const written = result.tables.filter(({ inserted, updated }) => inserted + updated > 0)
  await asWorker(connection, () =>
    recordSeedComplete(connection, attempt.start.id, {
      totalTables: written.length,
      totalRecords: written.reduce((sum, { inserted, updated }) => sum + inserted + updated, 0),
      planHash: look.planHash,
      details: { template_id: result.templateId, tables: result.tables.map(countsOf) },
      undo,
    }),
  )
}

/** What an undo is made from: rows as triggers left them. */
async function recordPlan(
  services: Services,
  connection: Connection,
  given: { input: Given; look: CopyLook; attempt: Attempt; result: SeedResult },
) {
  const { input, look, attempt, result } = given
  const { safety } = attempt
  if (safety === undefined) return null
  await readBack(connection, look.written)
  await hashPlan(connection, look.written, { seed: attempt.start.id }, input.signal)
  const plan = await storePlan(services, {
    path: restorePlanPath(input.tenantId, safety.stamp),
    header: {
      restore_id: attempt.start.id,
      organization_id: input.tenantId,
      backup_id: null,
      safety_backup_id: safety.id,
      plan_hash: look.planHash,
      options: describeRequest(input.options),
      tables: look.written.map((table) => {
        const counts = result.tables.find(({ name }) => name === table.live.label)
        return {
          ...describeShape(table),
          inserted: counts?.inserted ?? 0,
          updated: counts?.updated ?? 0,
          deleted: 0,
        }
      }),
    },
    lines: readPlanLines(connection, input.signal),
    signal: input.signal,
  })
  return { safetyBackupId: safety.id, planPath: plan.path, planSha256: plan.sha256 }
}

/** The columns that digests are of, a number each. As the worker. */
async function recordShapes(
  session: Queryable,
  { template }: CopyLook,
): Promise<Map<string, number>> {
  const shapes = template.tables.map(({ live, shared }) => ({
    label: live.label,
    schema_name: live.schema,
    table_name: live.name,
    columns: shared.columns.map(({ name }) => name),
  }))
  const select = `select w.label, h.id
    from jsonb_to_recordset($1::jsonb) as w (label text, schema_name text, table_name text, columns text[])
    left join tenantkeep.seeded_shapes as h using (schema_name, table_name, columns)`
  const params = [JSON.stringify(shapes)]
  let { rows } = await session.query<{ label: string; id: number | null }>(select, params)
  if (rows.some(({ id }) => id === null)) {
    await session.query(
      `insert into tenantkeep.seeded_shapes (schema_name, table_name, columns)
       select w.schema_name, w.table_name, w.columns
       from jsonb_to_recordset($1::jsonb) as w (schema_name text, table_name text, columns text[])
       on conflict do nothing`,
      params,
    )
    rows = (await session.query<{ label: string; id: number | null }>(select, params)).rows
  }
  return new Map(rows.flatMap(({ label, id }) => (id === null ? [] : [[label, id] as const])))
}

/** Throws for a real seeding what a dry run only tells. */
function refuse(result: SeedResult, input: Given): void {
  const { blockers, badRows, conflicts, conflictCount } = result
  if (badRows.length > 0 || blockers.length > 0) {
    const reasons = [
      ...(badRows.length === 0 ? [] : [`${badRows.length} of the given rows can't be inserted.`]),
      ...blockers.map(({ message }) => message),
    ]
    throw new BackupError('seed_blocked', `Nothing was seeded: ${reasons.join(' ')}`, {
      details: { blockers, bad_rows: badRows },
    })
  }
  if (conflictCount > 0) {
    const tables = [...new Set(conflicts.map(({ table }) => table))]
    throw new BackupError(
      'seed_conflict',
      `Nothing was seeded: ${conflictCount} rows in ${tables.join(', ')} need a decision, because the tenant changed its copy or has a row of its own.`,
      {
        details: {
          tables,
          count: conflictCount,
          // Which rows, and why; what they hold is for a dry run.
          conflicts: conflicts.map(({ columns, label: _, keyColumns, tenantKey, ...conflict }) => ({
            ...conflict,
            key_columns: keyColumns,
            tenant_key: tenantKey,
            columns: columns.map(({ name }) => name),
          })),
        },
      },
    )
  }
  if (typeof input.planHash === 'string' && input.planHash !== result.planHash) {
    throw new BackupError(
      'plan_stale',
      'The template or the tenant has changed since the plan was made, so this seeding would do something else. Nothing was seeded. Make a new dry run, look at it, and approve that.',
    )
  }
}

function addWritten(result: SeedResult, done: WriteResult): void {
  result.blockers.push(...done.blockers)
  result.badRows.push(...done.badRows)
  for (const { table, message } of done.warnings) {
    result.tables.find(({ name }) => name === table)?.warnings.push(message)
  }
}

function countsOf({
  name,
  rowsInTemplate,
  inserted,
  updated,
  adopted,
  cases,
  withdrawn,
  manual,
}: SeedTableResult) {
  return { name, rowsInTemplate, inserted, updated, adopted, cases, withdrawn, manual }
}

/** What was asked for, without the values of rows. */
function describeRequest({ manual_rows, ...options }: SeedOptions): Record<string, unknown> {
  const given = Object.entries(manual_rows ?? {}).map(([label, rows]) => [label, rows.length])
  return { ...options, manual_rows: manual_rows === null ? null : Object.fromEntries(given) }
}

async function readFiresTriggers(catalog: Queryable): Promise<boolean> {
  const { rows } = await catalog.query<{ value: unknown }>(
    `select value from tenantkeep.settings where key = 'seed_fires_triggers'`,
  )
  const parsed = z.boolean().default(true).safeParse(rows[0]?.value)
  if (parsed.success) return parsed.data
  throw new BackupError(
    'not_configured',
    'The setting seed_fires_triggers in tenantkeep.settings is neither true nor false.',
  )
}

async function readTenantName(session: Queryable, tenantId: string): Promise<string | null> {
  const { rows } = await session.query<{ name: string | null }>(
    'select t.tenant_name as name from tenantkeep.list_tenants() t where t.tenant_id = $1',
    [tenantId],
  )
  return rows[0]?.name ?? null
}

/** Returns the result where the seeding turns out to be committed and only the answer was lost. */
async function recordFailed(
  services: Services,
  attempt: Attempt,
  failure: BackupError,
): Promise<SeedResult | undefined> {
  try {
    const conflicts = failure.code === 'seed_conflict' ? { conflicts: failure.details?.count } : {}
    const start = { ...attempt.start, details: { ...attempt.start.details, ...conflicts } }
    const work = recordSeedFailure(services.tenants.catalog, start, failure)
    if (await interruptible(work, AbortSignal.timeout(RECORD_FAILURE_MS))) return attempt.result
    await attempt.safety?.cancel(failure)
  } catch (error) {
    services.log.error(
      { err: error, seedId: attempt.start.id },
      'A failed seeding could not be recorded',
    )
  }
  return undefined
}
