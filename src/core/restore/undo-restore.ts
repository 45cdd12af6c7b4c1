import { type Backup, findBackup } from '../backup/backup-record.ts'
import type { Connection, Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { interruptible } from '../interruptible.ts'
import type { Actor, Services } from '../services.ts'
import { quoteLiteral } from '../tables/quote-identifier.ts'
import { keyOf, lineOf, SCOPE, type StagedTable } from './diff-table.ts'
import { openBackup } from './open-backup.ts'
import { loadPlan, type RestorePlan } from './plan-document.ts'
import { readKeys } from './resolve-choices.ts'
import { DEFAULT_OPTIONS } from './restore-options.ts'
import { findRestore, type Restore } from './restore-record.ts'
import type { Blocker, RestoreProgress, RestoreResult } from './restore-result.ts'
import { runRestore, type UndoneRows } from './restore-tenant.ts'
import { copyLines, LINES } from './stage-table.ts'
import { ACTION, ROW } from './staged-table.ts'

export interface UndoInput {
  tenantId: string
  /** Of the journal row of the restore, or of an undo. */
  restoreId: string
  /** Back to the whole safety backup, whatever was written since; else only the rows that the restore wrote. */
  everything: boolean
  /** Rows that were changed again since: refuse, leave them as they are now, or take them back all the same. */
  onConflict: 'fail' | 'keep' | 'undo'
  isDryRun: boolean
  planHash?: string | null
  actor: Actor
  runId?: string | null
  note?: string | null
  sampleRows?: number
  onProgress?: (progress: RestoreProgress) => void
  signal?: AbortSignal
  waitMs?: number
}

/**
 * Takes back what a restore wrote, from its safety backup: rows it inserted go, rows it changed or deleted
 * come back, everything written since stays. An undo is a restore like any other, with a safety backup of its
 * own, and can be undone. Throws `restore_not_found`, `undo_impossible`, and what a restore throws.
 */
export async function undoRestore(services: Services, input: UndoInput): Promise<RestoreResult> {
  const { catalog } = services.tenants
  const { tenantId, restoreId, everything, onConflict, signal, ...rest } = input
  const restore = await interruptible(findRestore(catalog, restoreId), signal)
  if (restore === undefined || restore.organizationId !== tenantId) {
    throw new BackupError('restore_not_found', `There is no restore ${restoreId} of this tenant.`)
  }
  const { planPath, planSha256, ...undoable } = await interruptible(
    requireUndoable(catalog, restore),
    signal,
  )
  const safety = await interruptible(requireSafetyBackup(catalog, undoable.safetyBackupId), signal)
  const source = await openBackup(services, safety, signal)
  const plan = everything
    ? undefined
    : await loadPlan(services, { path: planPath, sha256: planSha256, tenantId, restoreId }, signal)
  const isLenient = onConflict === 'keep'
  const options = {
    ...DEFAULT_OPTIONS,
    // What comes back was there until the restore; whoever was let go since is a conflict.
    accept_access_changes: true,
    on_referenced: isLenient ? ('keep' as const) : ('fail' as const),
    on_missing_reference: isLenient ? ('skip' as const) : ('fail' as const),
    on_missing_user: isLenient ? ('skip' as const) : ('fail' as const),
    on_taken: isLenient ? ('skip' as const) : ('fail' as const),
  }
  return runRestore(
    services,
    { ...rest, tenantId, source, options, ...(signal === undefined ? {} : { signal }) },
    {
      restoreId,
      requireUndoable: () => requireUndoable(catalog, restore),
      facts: { restore: restoreId, everything, on_conflict: onConflict },
      rows: plan === undefined ? undefined : undoneRows(plan, onConflict, signal),
    },
  )
}

/** Why a restore can't be undone, in words; null where it can. */
export async function explainUndo(catalog: Queryable, restore: Restore): Promise<string | null> {
  try {
    const { safetyBackupId } = await requireUndoable(catalog, restore)
    await requireSafetyBackup(catalog, safetyBackupId)
    return null
  } catch (error) {
    if (error instanceof BackupError && error.code === 'undo_impossible') return error.message
    throw error
  }
}

async function requireSafetyBackup(catalog: Queryable, id: string): Promise<Backup> {
  const safety = await findBackup(catalog, id)
  if (safety?.status === 'complete') {
    if (safety.damagedAt !== null) throw impossible('its safety backup is damaged')
    return safety
  }
  if (safety?.status === 'pruned') {
    throw impossible(
      `it is too late. Its safety backup is kept for a time, which is over; it was removed on ${safety.prunedAt?.slice(0, 10)}`,
    )
  }
  throw impossible(`its safety backup is ${safety?.status ?? 'gone'}`)
}

async function requireUndoable(
  catalog: Queryable,
  restore: Restore,
): Promise<{ safetyBackupId: string; planPath: string; planSha256: string }> {
  if (restore.status !== 'complete') throw impossible(`it is ${restore.status}`)
  if (restore.totalRecords === 0) throw impossible('it wrote nothing')
  if (await isUndone(catalog, restore.id)) throw impossible('it was undone already')
  const { safetyBackupId, planPath, planSha256 } = restore
  if (safetyBackupId === null || planPath === null || planSha256 === null) {
    throw impossible('its safety backup or its plan is not on record')
  }
  return { safetyBackupId, planPath, planSha256 }
}

/** Undone by an undo that was not undone itself. */
async function isUndone(catalog: Queryable, restoreId: string): Promise<boolean> {
  const { rows } = await catalog.query<{ id: string }>(
    `select id from public.backup_logs where undo_of = $1 and status = 'complete'`,
    [restoreId],
  )
  for (const { id } of rows) {
    if (!(await isUndone(catalog, id))) return true
  }
  return false
}

function impossible(reason: string): BackupError {
  return new BackupError('undo_impossible', `This restore can't be undone: ${reason}.`)
}

function undoneRows(
  plan: RestorePlan,
  onConflict: UndoInput['onConflict'],
  signal: AbortSignal | undefined,
): UndoneRows {
  const columns = new Map(plan.header.tables.map((table) => [table.name, new Set(table.columns)]))
  return {
    labels: new Set(
      plan.header.tables
        .filter(({ inserted, updated, deleted }) => inserted + updated + deleted > 0)
        .map(({ name }) => name),
    ),
    loadScope: (session, indexOf) => loadScope(session, plan, indexOf, signal),
    settleConflicts: async (session, tables) => {
      const blockers: Blocker[] = []
      for (const table of tables.values()) {
        const compared = columns.get(table.live.label)
        if (compared === undefined) continue
        blockers.push(...(await settleTable(session, table, compared, onConflict)))
      }
      return blockers
    },
  }
}

async function loadScope(
  session: Connection,
  plan: RestorePlan,
  indexOf: (label: string) => number | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  await copyLines(session, plan.lines(), signal)
  for (const { name } of plan.header.tables) {
    const index = indexOf(name)
    if (index === undefined) throw impossible(`the table ${name} is gone`)
    await session.query(
      `insert into ${SCOPE} (table_no, key, action, before, after)
       select ${index}, row -> 'k', row ->> 'a', row ->> 'b', row ->> 'n'
       from (select l.line::jsonb as row from ${LINES} as l) as plan
       where row ->> 't' = ${quoteLiteral(name)} and row ->> 'a' <> 'release'`,
    )
  }
  await session.query(`truncate ${LINES}; analyze ${SCOPE}`)
}

/**
 * Rows that are not as the restore left them. `compared`: the columns that its plan knew, since its digests
 * are of these.
 */
async function settleTable(
  session: Queryable,
  table: StagedTable,
  compared: ReadonlySet<string>,
  onConflict: UndoInput['onConflict'],
): Promise<Blocker[]> {
  if (onConflict === 'undo') return []
  const { label } = table.live
  const known = {
    ...table.shared,
    columns: table.shared.columns.filter((column) => compared.has(column.name)),
  }
  const rows =
    known.primaryKey.length > 0
      ? await findChanged(session, table, (alias) => `md5(${lineOf(known, alias)})`)
      : []
  const missing = known.primaryKey.length > 0 ? 0 : await countMissing(session, table)
  const count = rows.length + missing
  if (count === 0) return []
  const keys = await readKeys(session, table, rows.slice(0, 20))
  await session.query(
    `update ${table.staged} set ${ACTION} = case ${ACTION}
       when 'delete' then 'keep' when 'before' then 'unused' else 'skip' end
     where ${ROW} = any ($1::bigint[])`,
    [rows],
  )
  if (onConflict === 'keep') return []
  return [
    {
      code: 'undo_conflict',
      table: label,
      constraint: null,
      count,
      keys,
      message: `${count} rows of ${label} were changed again since the restore. Choose on_conflict: keep leaves them as they are now, undo takes them back all the same.`,
    },
  ]
}

async function findChanged(
  session: Queryable,
  table: StagedTable,
  digest: (alias: string) => string,
): Promise<string[]> {
  const { rows } = await session.query<{ row_no: string }>(
    `select s.${ROW} as row_no
     from ${table.staged} as s
     join ${SCOPE} as c on c.table_no = ${table.index} and c.key = ${keyOf(table.shared, 's')}
     left join ${table.staged} as b on b.${ROW} = s.${ROW} and b.${ACTION} = 'before'
     where case
       when s.${ACTION} in ('update', 'replace')
         then c.action <> 'update' or c.after is distinct from ${digest('b')}
       when s.${ACTION} = 'delete' then c.after is distinct from ${digest('s')}
       when s.${ACTION} = 'insert' then c.action <> 'delete'
       else false end`,
  )
  return rows.map((row) => row.row_no)
}

/** Of a table without a key: rows that the restore inserted and that are no more. */
async function countMissing(session: Queryable, table: StagedTable): Promise<number> {
  const { rows } = await session.query<{ missing: string }>(
    `select (select count(*) from ${SCOPE} where table_no = ${table.index} and action = 'insert')
          - (select count(*) from ${table.staged} where ${ACTION} = 'delete') as missing`,
  )
  return Math.max(0, Number(rows[0]?.missing))
}
