/**
 * What must hold after the last write, each asked anew of the whole database, past row level security:
 * triggers were silent, so no foreign key and no deferrable constraint was watched by anybody else.
 */
import type { Queryable } from '../database/database.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import { quoteLiteral } from '../tables/quote-identifier.ts'
import { countActions, REFUSED } from './apply-plan.ts'
import { asWorker } from './as-worker.ts'
import { comparedColumns, equalKey, liveRows, rowsDiffer, type StagedTable } from './diff-table.ts'
import type { Constraints, ForeignKey, UniqueKey } from './read-constraints.ts'
import type { Blocker } from './restore-result.ts'
import { ACTION, ROW } from './staged-table.ts'

const FINAL = `('insert', 'update', 'replace')`
const LOCK_TRIES = 5
const LOCK_TRY_MS = 300

export interface ProofOptions {
  tables: ReadonlyMap<string, StagedTable>
  constraints: Constraints
  /** A dry run takes no lock that other tenants would wait for. */
  isDryRun: boolean
  lockTimeoutMs: number
}

export interface Proof {
  blockers: Blocker[]
  warnings: { table: string; message: string }[]
}

/** Proves the result. Called and left as the operator. Throws `table_busy`, and lock time-outs of parents. */
export async function proveRestore(session: Queryable, options: ProofOptions): Promise<Proof> {
  const { tables, constraints } = options
  const proof: Proof = { blockers: [], warnings: [] }
  const withFinal = new Map<string, StagedTable>()
  const withGone = new Map<string, StagedTable>()
  for (const [label, table] of tables) {
    const counts = await countActions(session, table)
    const has = (...actions: string[]) => actions.some((action) => (counts[action] ?? 0) > 0)
    if (has('insert', 'update', 'replace')) withFinal.set(label, table)
    if (has('delete', 'update', 'replace')) withGone.set(label, table)
  }
  for (const foreignKey of constraints.foreignKeys) {
    await proveReferences(session, foreignKey, withFinal, proof)
  }
  for (const foreignKey of constraints.foreignKeys) {
    await proveReferrers(session, foreignKey, withGone, proof)
  }
  for (const table of tables.values()) await proveWritten(session, table, proof)
  for (const table of tables.values()) await countOthers(session, table, proof)
  const deferrable = constraints.uniqueKeys.filter(
    (key) => key.isDeferrable && withFinal.has(key.label),
  )
  await proveDeferrable(session, deferrable, options, proof)
  return proof
}

async function proveReferences(
  session: Queryable,
  foreignKey: ForeignKey,
  tables: ReadonlyMap<string, StagedTable>,
  proof: Proof,
): Promise<void> {
  const child = foreignKey.childLabel === null ? undefined : tables.get(foreignKey.childLabel)
  if (child === undefined) return
  const count = await callCount(
    session,
    'select tenantkeep.hold_references($1::oid, $2::regclass) as count',
    [foreignKey.oid, child.staged],
  )
  if (count === 0) return
  const message = `${count} rows of ${child.live.label} point at rows of ${foreignKey.parentName} that are not there (${foreignKey.name}).`
  if (!foreignKey.isValidated) {
    proof.warnings.push({ table: child.live.label, message })
    return
  }
  proof.blockers.push({
    code: foreignKey.isUser ? 'missing_user' : 'missing_reference',
    table: child.live.label,
    constraint: foreignKey.name,
    count,
    keys: [],
    message,
  })
}

async function proveReferrers(
  session: Queryable,
  foreignKey: ForeignKey,
  tables: ReadonlyMap<string, StagedTable>,
  proof: Proof,
): Promise<void> {
  const parent = foreignKey.parentLabel === null ? undefined : tables.get(foreignKey.parentLabel)
  if (parent === undefined) return
  const count = await callCount(
    session,
    'select tenantkeep.count_lost_referrers($1::oid, $2::regclass) as count',
    [foreignKey.oid, parent.staged],
  )
  if (count === 0) return
  proof.blockers.push({
    code: 'referenced',
    table: parent.live.label,
    constraint: foreignKey.name,
    count,
    keys: [],
    message: `${count} rows of ${foreignKey.childName} would point at rows of ${parent.live.label} that are gone (${foreignKey.name}).`,
  })
}

/** Something between us and the table (a trigger that is always on, a type that rounds) changed what was written. */
async function proveWritten(session: Queryable, table: StagedTable, proof: Proof): Promise<void> {
  const { shared, live, staged } = table
  const differs = rowsDiffer(shared, comparedColumns(shared), 's', 'live')
  if (shared.primaryKey.length === 0 || differs === null) return
  const { rows } = await session.query<{ count: string }>(
    `select count(*) from ${staged} as s
     join ${liveRows(live)} on ${equalKey(shared, 's', 'live')}
     where s.${ACTION} in ${FINAL} and ${differs}
       and not exists (select from ${REFUSED} as r where r.table_no = ${table.index} and r.row_no = s.${ROW})`,
  )
  const count = Number(rows[0]?.count)
  if (count === 0) return
  proof.blockers.push({
    code: 'row_refused',
    table: live.label,
    constraint: null,
    count,
    keys: [],
    message: `${count} rows of ${live.label} did not arrive as they are in the backup: a trigger or rule that is always on, or a column whose type changed, altered them.`,
  })
}

/** Rows that came or went since the look, by other hands: they happened after, and stay. */
async function countOthers(session: Queryable, table: StagedTable, proof: Proof): Promise<void> {
  const { rows } = await session.query<{ difference: string }>(
    `select (select count(*) ${table.live.from} where ${table.live.rowExpression})
       - ${table.rowsLive} - count(*) filter (where ${ACTION} = 'insert')
       + count(*) filter (where ${ACTION} = 'delete') as difference
     from ${table.staged}`,
  )
  const difference = Number(rows[0]?.difference)
  if (difference === 0) return
  proof.warnings.push({
    table: table.live.label,
    message: `${table.live.label} has ${Math.abs(difference)} rows ${difference > 0 ? 'more' : 'fewer'} than planned: somebody wrote to it meanwhile, or rows of nobody have an owner again. They are left as they are.`,
  })
}

/**
 * Constraints that Postgres checks by triggers, which are silent. Another session's open insert can't be
 * seen, so writers of these tables wait while this looks: at most 300 ms a try, the last thing before commit.
 */
async function proveDeferrable(
  session: Queryable,
  keys: readonly UniqueKey[],
  { tables, isDryRun, lockTimeoutMs }: ProofOptions,
  proof: Proof,
): Promise<void> {
  if (keys.length === 0) return
  const labels = [...new Set(keys.map((key) => key.label))]
  if (!isDryRun) await lockAgainstWriters(session, labels, tables, lockTimeoutMs)
  for (const key of keys) {
    const table = tables.get(key.label)
    if (table === undefined || key.constraintOid === null) continue
    const count = await callCount(
      session,
      'select tenantkeep.count_duplicates($1::oid, $2::regclass) as count',
      [key.constraintOid, table.staged],
    )
    if (isDryRun) {
      proof.warnings.push({
        table: key.label,
        message: `Other tenants' writes to ${key.label} wait for a moment at the end, because ${key.name} can be deferred.`,
      })
    }
    if (count === 0) continue
    proof.blockers.push({
      code: 'key_taken',
      table: key.label,
      constraint: key.name,
      count,
      keys: [],
      message: `${count} rows of ${key.label} have a value of ${key.name} that another row has, too.`,
    })
  }
}

async function lockAgainstWriters(
  session: Queryable,
  labels: readonly string[],
  tables: ReadonlyMap<string, StagedTable>,
  lockTimeoutMs: number,
): Promise<void> {
  const relations = labels
    .flatMap((label) => tables.get(label)?.live.from ?? [])
    .map((from) => from.replace(/^from /, ''))
  for (let attempt = 1; ; attempt += 1) {
    await session.query(
      `savepoint tenantkeep_lock; set local lock_timeout = ${Math.min(LOCK_TRY_MS, lockTimeoutMs)}`,
    )
    try {
      await session.query(`lock table ${relations.join(', ')} in share row exclusive mode`)
      await session.query(`set local lock_timeout = ${lockTimeoutMs}`)
      return
    } catch (error) {
      if (!hasSqlstate(error, 'lockNotAvailable')) throw error
      await session.query('rollback to savepoint tenantkeep_lock')
      // Who waits for us can't get out of our way: only all that we hold lets it go on.
      if (await isWaitedFor(session, relations)) throw error
      if (attempt < LOCK_TRIES) continue
      throw new BackupError(
        'table_busy',
        `${labels.join(', ')} could not be held against writers for a moment, which a constraint that can be deferred needs. Nothing was restored. Try again.`,
        { cause: error, details: { tables: labels } },
      )
    }
  }
}

/** Whether somebody who uses one of these tables waits for this session at this moment. */
async function isWaitedFor(session: Queryable, relations: readonly string[]): Promise<boolean> {
  const { rows } = await session.query(
    `select from pg_catalog.pg_locks l
     where l.granted and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
       and l.relation in (${relations.map((name) => `${quoteLiteral(name.replace(/^only /, ''))}::regclass`).join(', ')})
       and pg_catalog.pg_backend_pid() = any (pg_catalog.pg_blocking_pids(l.pid))
     limit 1`,
  )
  return rows.length > 0
}

async function callCount(
  session: Queryable,
  sql: string,
  params: readonly unknown[],
): Promise<number> {
  const { rows } = await asWorker(session, () => session.query<{ count: string }>(sql, params))
  return Number(rows[0]?.count ?? 0)
}
