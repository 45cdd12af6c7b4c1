import { updateBackup } from '../backup/update-backup.ts'
import { verifyBackup } from '../backup/verify-backup.ts'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import {
  completeActionRun,
  failActionRun,
  findActionRun,
  startActionRun,
} from '../jobs/action-run.ts'
import type { BackupSource } from '../restore/backup-source.ts'
import { DEFAULT_OPTIONS } from '../restore/restore-options.ts'
import { findRestore } from '../restore/restore-record.ts'
import type { Blocker, RestoreProgress, RestoreResult } from '../restore/restore-result.ts'
import { describeKept, restoreTenant } from '../restore/restore-tenant.ts'
import type { Actor, Services } from '../services.ts'
import { writtenColumns } from '../tables/encode-rows.ts'
import { readProtectedTables } from '../tables/read-protected-tables.ts'
import { findTemplateTenant } from './find-template-tenant.ts'
import { recordRefusal } from './record-refusal.ts'

export interface OffboardInput {
  actor: Actor
  tenantId: string
  /** Why; what the pin of the last backup says. */
  reason: string
  /** Counts and proves everything, and rolls it back. */
  isDryRun: boolean
  /** The tenant's name, or its id where it has none, typed by whoever means it. Not asked of a dry run. */
  confirmName: string | null
  /** Of a dry run; what would delete anything else is `plan_stale`. */
  planHash?: string | null
  /** Triggers and rules may act that can't be silenced. */
  acceptSideEffects: boolean
  note?: string | null
  idempotencyKey?: string | undefined
  onProgress?: (progress: RestoreProgress) => void
  signal?: AbortSignal
}

export interface Offboarding {
  isDryRun: boolean
  runId: string | null
  tenantId: string
  tenantName: string | null
  /** The last backup: verified, pinned; null for a dry run. */
  backupId: string | null
  /** Of the journal; null for a dry run. */
  journalId: string | null
  planHash: string
  /** Rows deleted by table, or to be deleted. */
  tables: { name: string; deleted: number }[]
  /** Of a dry run. */
  blockers: Blocker[]
  warnings: { code: string; message: string }[]
}

/**
 * Removes a tenant: a restore to nothing, with its proofs. The last backup is taken in the very snapshot in
 * which the rows are looked at, read back whole and pinned before the first row is deleted; all rows go in one
 * transaction. Refuses what others refer to. Restoring the last backup brings the tenant back. Throws
 * `tenant_not_found`, `not_allowed` for the template, `invalid_request` where the name was not typed, and
 * what a restore throws. Every attempt but a rehearsal is in the journal.
 */
export async function offboardTenant(
  services: Services,
  input: OffboardInput,
): Promise<Offboarding> {
  const { catalog } = services.tenants
  const { actor, tenantId, isDryRun, reason } = input
  const asked = { tenantId, reason, isDryRun }
  const request = { kind: 'offboard' as const, actor, asked, idempotencyKey: input.idempotencyKey }
  const known = await findActionRun<Offboarding>(catalog, request, (journalId) =>
    readDone(catalog, journalId),
  )
  if (known?.result != null) return { ...known.result, runId: known.runId }

  const tenant = await prepare(services, input).catch(async (error: unknown) => {
    if (error instanceof BackupError && !isDryRun) await refuse(catalog, input, null, error)
    throw error
  })
  const runId = isDryRun
    ? null
    : await startActionRun(catalog, { ...request, tenantId, tenantName: tenant.name })
  try {
    const result = await restoreTenant(services, {
      tenantId,
      source: await describeNothing(services, tenant),
      isDryRun,
      options: {
        ...DEFAULT_OPTIONS,
        history: 'restore',
        accept_access_changes: true,
        accept_side_effects: input.acceptSideEffects,
      },
      planHash: input.planHash ?? null,
      actor,
      runId,
      note: input.note ?? reason,
      farewell: { keep: (backupId) => keepLastBackup(services, input, backupId) },
      ...(input.onProgress === undefined ? {} : { onProgress: input.onProgress }),
      ...(input.signal === undefined ? {} : { signal: input.signal }),
    })
    const done = describe(tenant, result, runId)
    if (runId !== null) await completeActionRun(catalog, runId, done)
    return done
  } catch (error) {
    const failure =
      error instanceof BackupError
        ? error
        : new BackupError('internal', 'The tenant could not be removed.', { cause: error })
    if (runId !== null) {
      await failActionRun(catalog, runId, failure)
      if (!(await isJournalled(catalog, runId))) await refuse(catalog, input, runId, failure)
    }
    throw failure
  }
}

interface Leaving {
  id: string
  name: string | null
}

async function prepare({ tenants }: Services, input: OffboardInput): Promise<Leaving> {
  const { tenantId, isDryRun, confirmName } = input
  const { rows } = await tenants.catalog.query<Leaving>(
    'select tenant_id as id, tenant_name as name from tenantkeep.list_tenants() where tenant_id = $1',
    [tenantId],
  )
  const [tenant] = rows
  if (tenant === undefined) {
    throw new BackupError('tenant_not_found', `There is no organization ${tenantId}.`)
  }
  const template = await findTemplateTenant(tenants.catalog)
  if (template?.id === tenantId) {
    throw new BackupError(
      'not_allowed',
      'The template tenant holds the defaults. Name another one first (`tenantkeep init --template-tenant ID`).',
    )
  }
  if (!isDryRun && confirmName?.trim() !== (tenant.name ?? tenant.id).trim()) {
    throw new BackupError(
      'invalid_request',
      'Type the name of the organization that is to be removed, exactly, as confirm_name (its id where it has no name). Nothing was done.',
    )
  }
  return tenant
}

/** A backup of this moment's tables without a row. */
async function describeNothing({ tenants }: Services, tenant: Leaving): Promise<BackupSource> {
  const tables = await readProtectedTables(tenants.catalog)
  const takenAt = new Date().toISOString().replace('Z', '000Z')
  return {
    kind: 'nothing',
    backupId: null,
    takenAt,
    summary: {
      format_version: 1,
      backup_id: '00000000-0000-0000-0000-000000000000',
      organization_id: tenant.id,
      organization_name: tenant.name,
      backup_type: 'manual',
      taken_at: takenAt,
      postgres_version: '-',
      schema_fingerprint: '-',
      tables: tables.map((table) => ({
        name: table.label,
        schema: table.schema,
        table: table.name,
        columns: writtenColumns(table).map(({ name, type, encoding }) => ({
          ...{ name, type, encoding },
        })),
        fingerprint: '-',
        primary_key: table.primaryKey.map(({ name }) => name),
        ...{ rows: 0, raw_bytes: 0, stored_bytes: 0, parts: [] },
      })),
      totals: { tables: tables.length, rows: 0, raw_bytes: 0, stored_bytes: 0 },
      gaps: [],
      warnings: [],
      name: null,
      note: null,
      tags: [],
    },
    isPlainJson: false,
    warnings: [],
    readPart: async () => {
      throw new BackupError('internal', 'Nothing has no parts.')
    },
  }
}

/** Before the first row goes: every byte read back, and a pin that says why. */
async function keepLastBackup(
  services: Services,
  { actor, reason, signal }: OffboardInput,
  backupId: string,
): Promise<void> {
  const { isIntact, findings } = await verifyBackup(services, backupId, { signal })
  if (!isIntact) {
    throw new BackupError(
      'backup_damaged',
      'The last backup could not be read back whole, so nothing was deleted. Try again.',
      { details: { backup_id: backupId, findings: findings.length } },
    )
  }
  await updateBackup(services, { backupId, actor, pin: { reason } })
}

function describe(tenant: Leaving, result: RestoreResult, runId: string | null): Offboarding {
  const kept = result.tables.filter((table) => table.kept + table.skipped > 0)
  return {
    isDryRun: result.isDryRun,
    runId,
    tenantId: tenant.id,
    tenantName: tenant.name,
    backupId: result.safetyBackupId,
    journalId: result.restoreId,
    planHash: result.planHash,
    tables: result.tables.map(({ name, deleted }) => ({ name, deleted })),
    blockers: [...result.blockers, ...kept.map(describeKept)],
    warnings: [
      ...result.warnings,
      ...result.tables.flatMap(({ name, warnings }) =>
        warnings.map((message) => ({ code: 'table', message: `${name}: ${message}` })),
      ),
    ],
  }
}

/** What the journal knows of one whose answer was lost. */
async function readDone(catalog: Queryable, journalId: string): Promise<Offboarding> {
  const done = await findRestore(catalog, journalId)
  return {
    isDryRun: false,
    runId: done?.runId ?? null,
    tenantId: done?.organizationId ?? '',
    tenantName: done?.organizationName ?? null,
    backupId: done?.safetyBackupId ?? null,
    journalId,
    planHash: done?.planHash ?? '',
    tables: (done?.details.tables ?? []).map(({ name, deleted }) => ({ name, deleted })),
    blockers: [],
    warnings: [],
  }
}

async function isJournalled(catalog: Queryable, runId: string): Promise<boolean> {
  const { rowCount } = await catalog.query(
    `select from public.backup_logs where run_id = $1 and backup_type = 'offboard'`,
    [runId],
  )
  return rowCount > 0
}

async function refuse(
  catalog: Queryable,
  { actor, tenantId, reason, note }: OffboardInput,
  runId: string | null,
  error: BackupError,
): Promise<void> {
  await recordRefusal(catalog, {
    ...{ type: 'offboard', actor, tenantId, runId, scope: { reason }, error },
    note: note ?? null,
  })
}
