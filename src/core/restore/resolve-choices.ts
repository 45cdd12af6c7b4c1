/**
 * What stands in the way of a plan, and what the options say about it. Everything is looked up past row
 * level security by definer functions, over all rows at once; what an answer changes may bring up the next
 * question (a row passed over is missing to another), so they are asked until nothing changes.
 */
import type { Queryable } from '../database/database.ts'
import { quoteIdentifier } from '../tables/quote-identifier.ts'
import { countActions } from './apply-plan.ts'
import { asWorker } from './as-worker.ts'
import { comparedColumns, keyOf, rowsDiffer, type StagedTable } from './diff-table.ts'
import type { Constraints, Edge, ForeignKey, UniqueKey } from './read-constraints.ts'
import type { RestoreOptions } from './restore-options.ts'
import type { Blocker, RestoreResult } from './restore-result.ts'
import { ACTION, CTID, ROW, TABLEOID, XMIN } from './staged-table.ts'

const ROUNDS = 30
const MOST_KEYS = 20
const FINAL_ACTIONS = ['insert', 'update', 'replace'] as const
const FINAL = `('insert', 'update', 'replace')`

export interface Plan {
  /** By label, in the order of ownership. */
  tables: Map<string, StagedTable>
  constraints: Constraints
  options: RestoreOptions
  /** Tables that an undo returns rows of nobody's to: the proof alone knows whether these hold a reference. */
  returning: ReadonlySet<string>
  /** Stages a table that the plan did not need so far; undefined where the backup does not have it. */
  stageMore(label: string): Promise<StagedTable | undefined>
}

interface Found {
  code: Blocker['code']
  table: StagedTable
  constraint: string | null
  rows: Set<string>
  message: (count: number) => string
}

export interface Resolution {
  blockers: Blocker[]
  warnings: { table: string; message: string }[]
  accessChanges: RestoreResult['accessChanges']
}

/** Settles the plan in its staged rows. Called and left as the operator. */
export async function resolveChoices(session: Queryable, plan: Plan): Promise<Resolution> {
  const resolver = new Resolver(session, plan)
  return resolver.resolve()
}

class Resolver {
  readonly #session: Queryable
  readonly #plan: Plan
  readonly #found = new Map<string, Found>()
  readonly #warnings = new Map<string, { table: string; message: string }>()
  readonly #actions = new Map<StagedTable, Partial<Record<string, number>>>()
  /** Tables whose rows a choice changed: some of them may now be what is there already. */
  readonly #softened = new Set<StagedTable>()
  #hasChangedSince = false

  constructor(session: Queryable, plan: Plan) {
    this.#session = session
    this.#plan = plan
  }

  async resolve(): Promise<Resolution> {
    const { uniqueKeys, edges, foreignKeys } = this.#plan.constraints
    for (let round = 1; round <= ROUNDS; round += 1) {
      this.#hasChangedSince = false
      for (const key of uniqueKeys) await this.#resolveTaken(key)
      for (const edge of edges) await this.#resolveReturning(edge)
      for (const foreignKey of foreignKeys) await this.#resolveMissing(foreignKey)
      for (const foreignKey of foreignKeys) await this.#resolveReferenced(foreignKey)
      if (!this.#hasChangedSince) break
    }
    for (const table of this.#softened) await this.#leaveEqual(table)
    const accessChanges = await this.#findAccessChanges()
    const blockers: Blocker[] = []
    for (const found of this.#found.values()) {
      blockers.push({
        code: found.code,
        table: found.table.live.label,
        constraint: found.constraint,
        count: found.rows.size,
        keys: await readKeys(this.#session, found.table, [...found.rows].slice(0, MOST_KEYS)),
        message: found.message(found.rows.size),
      })
    }
    if (!this.#plan.options.accept_access_changes) {
      blockers.push(...accessChanges.map(describeAccessChange))
    }
    return { blockers, warnings: [...this.#warnings.values()], accessChanges }
  }

  /** Keys of rows that are to be written, held by rows that stay. */
  async #resolveTaken(key: UniqueKey): Promise<void> {
    const table = this.#plan.tables.get(key.label)
    if (table === undefined || !(await this.#has(table, FINAL_ACTIONS))) return
    const rows = await findKeyHolders(this.#session, table, key)
    if (rows.length === 0) return
    const adoptable = isAdoptable(table, key, this.#plan.constraints)
    const unowned = adoptable ? rows.filter((row) => !row.is_owned) : []
    await this.#release(
      table,
      unowned.map((row) => [row.holder_tableoid, row.holder_ctid, row.holder_xmin] as const),
    )
    const taken = new Set(rows.filter((row) => row.is_owned || !adoptable).map((row) => row.row_no))
    if (taken.size === 0) return
    const { on_taken: choice } = this.#plan.options
    if (choice === 'fail') {
      this.#block(
        'key_taken',
        table,
        key.name,
        taken,
        (count) =>
          `${count} rows of ${key.label} have a value of ${key.name} that another row holds now. Choose on_taken: skip or keep_live, or free the value.`,
      )
    }
    if (choice === 'keep_live') {
      const set = key.columns.map((name) => `${quoteIdentifier(name)} = b.${quoteIdentifier(name)}`)
      await this.#session.query(
        `update ${table.staged} as s set ${set.join(', ')}
         from ${table.staged} as b
         where b.${ROW} = s.${ROW} and b.${ACTION} = 'before' and s.${ACTION} in ('update', 'replace')
           and s.${ROW} = any ($1::bigint[])`,
        [[...taken]],
      )
      await this.#skip(table, taken, `('insert')`)
      this.#softened.add(table)
      this.#noteChange()
      this.#warn(
        key.label,
        `${taken.size} rows: ${key.name} is held by another row now; they keep their live value, or are not brought back.`,
      )
      return
    }
    // Also where it blocks: a dry run goes on to find what else is in the way.
    await this.#skip(table, taken, FINAL)
    if (choice === 'skip') {
      this.#warn(
        key.label,
        `${taken.size} rows were passed over: ${key.name} is held by another row now.`,
      )
    }
  }

  /** Rows that nobody owns now, and that their owner's return would make the tenant's. */
  async #resolveReturning(edge: Edge): Promise<void> {
    const owner = this.#plan.tables.get(edge.ownerLabel)
    if (owner === undefined || !(await this.#has(owner, ['insert']))) return
    // By a foreign key only where the owner itself was there, as nobody's.
    if (edge.isEnforced && !(await this.#has(owner, ['release']))) return
    const { rows } = await asWorker(this.#session, () =>
      this.#session.query<{ child_tableoid: string; child_ctid: string; child_xmin: string }>(
        'select * from tenantkeep.find_unowned_children($1::integer, $2::regclass)',
        [edge.id, owner.staged],
      ),
    )
    if (rows.length === 0) return
    const table = await this.#plan.stageMore(edge.label)
    if (table === undefined) return
    const { options, constraints } = this.#plan
    const hasReferrers = constraints.foreignKeys.some((key) => key.parentLabel === edge.label)
    const isKept = (table.live.isHistory ? options.history : options.newer) === 'keep'
    const hasKey = table.live.primaryKey.length > 0
    if ((isKept || hasReferrers) && hasKey) {
      this.#warn(
        edge.label,
        `Up to ${rows.length} rows that nobody owns now become the tenant's again, because their owner comes back.`,
      )
      return
    }
    await this.#release(
      table,
      rows.map((row) => [row.child_tableoid, row.child_ctid, row.child_xmin] as const),
    )
  }

  /** Rows that are to be written, and point at nothing. */
  async #resolveMissing(foreignKey: ForeignKey): Promise<void> {
    const { tables, options } = this.#plan
    const child = foreignKey.childLabel === null ? undefined : tables.get(foreignKey.childLabel)
    if (child === undefined || !(await this.#has(child, FINAL_ACTIONS))) return
    if (this.#isReturnedTo(foreignKey)) return
    const parent = foreignKey.parentLabel === null ? undefined : tables.get(foreignKey.parentLabel)
    const { rows } = await asWorker(this.#session, () =>
      this.#session.query<{ row_no: string; was_broken: boolean }>(
        'select * from tenantkeep.find_missing_parents($1::oid, $2::regclass, $3::regclass)',
        [foreignKey.oid, child.staged, parent?.staged ?? null],
      ),
    )
    const broken = rows.filter((row) => row.was_broken || !foreignKey.isValidated)
    if (broken.length > 0) {
      this.#warn(
        child.live.label,
        `${broken.length} rows point at nothing by ${foreignKey.name}, as they did before.`,
      )
    }
    const missing = new Set(
      rows.filter((row) => !row.was_broken && foreignKey.isValidated).map((row) => row.row_no),
    )
    if (missing.size === 0) return
    const choice = foreignKey.isUser ? options.on_missing_user : options.on_missing_reference
    const isSettled =
      (choice === 'restore' && (await this.#bringParents(foreignKey, child, missing))) ||
      (choice === 'null' && (await this.#setNull(foreignKey, child, missing)))
    if (isSettled) return
    // What must name a user (a membership) is nothing without them.
    if (choice === 'skip' || (choice === 'null' && foreignKey.isUser)) {
      this.#warn(
        child.live.label,
        `${missing.size} rows were passed over: what they point at by ${foreignKey.name} is gone.`,
      )
      await this.#skip(child, missing, FINAL)
      return
    }
    this.#block(
      foreignKey.isUser ? 'missing_user' : 'missing_reference',
      child,
      foreignKey.name,
      missing,
      (count) =>
        foreignKey.isUser
          ? `${count} rows of ${child.live.label} belong to users who are gone (${foreignKey.name}). Choose on_missing_user: skip or null.`
          : `${count} rows of ${child.live.label} point at rows of ${foreignKey.parentName} that are neither there nor restored (${foreignKey.name}). Choose on_missing_reference: restore, null or skip.`,
    )
  }

  async #bringParents(
    foreignKey: ForeignKey,
    child: StagedTable,
    rows: ReadonlySet<string>,
  ): Promise<boolean> {
    if (foreignKey.parentLabel === null) return false
    const parent = await this.#plan.stageMore(foreignKey.parentLabel)
    if (parent === undefined) return false
    const pairs = foreignKey.childColumns.map((name, index) => {
      const parentColumn = foreignKey.parentColumns[index] ?? name
      return `c.${quoteIdentifier(name)} = p.${quoteIdentifier(parentColumn)}`
    })
    const { rowCount } = await this.#session.query(
      `update ${parent.staged} as p set ${ACTION} = 'insert'
       where p.${ACTION} in ('outside', 'skip') and p.${CTID} is null and exists (
         select from ${child.staged} as c
         where c.${ROW} = any ($1::bigint[]) and c.${ACTION} in ${FINAL} and ${pairs.join(' and ')})`,
      [[...rows]],
    )
    if (rowCount === 0) return false
    this.#noteChange()
    this.#warn(
      parent.live.label,
      `${rowCount} rows are brought back although not asked for: rows that come back point at them.`,
    )
    return true
  }

  async #setNull(
    foreignKey: ForeignKey,
    child: StagedTable,
    rows: ReadonlySet<string>,
  ): Promise<boolean> {
    const key = new Set(child.live.primaryKey.map((column) => column.name))
    const nullable = child.live.columns.filter(
      (column) =>
        foreignKey.childColumns.includes(column.name) &&
        column.isNullable &&
        !column.isGenerated &&
        !key.has(column.name),
    )
    if (nullable.length === 0) return false
    const set = nullable.map((column) => `${quoteIdentifier(column.name)} = null`)
    await this.#session.query(
      `update ${child.staged} set ${set.join(', ')}
       where ${ROW} = any ($1::bigint[]) and ${ACTION} in ${FINAL}`,
      [[...rows]],
    )
    this.#softened.add(child)
    this.#noteChange()
    this.#warn(
      child.live.label,
      `${rows.size} rows lose what they pointed at by ${foreignKey.name}: it is gone, so the columns become null.`,
    )
    return true
  }

  /** Rows that are to go, or change their key, and are referred to by rows that stay. */
  async #resolveReferenced(foreignKey: ForeignKey): Promise<void> {
    const { tables, options } = this.#plan
    const parent = foreignKey.parentLabel === null ? undefined : tables.get(foreignKey.parentLabel)
    if (parent === undefined || !(await this.#has(parent, ['delete', 'update', 'replace']))) return
    if (this.#isReturnedTo(foreignKey)) return
    const child = foreignKey.childLabel === null ? undefined : tables.get(foreignKey.childLabel)
    const { rows } = await asWorker(this.#session, () =>
      this.#session.query<{ row_no: string; referring_rows: string }>(
        'select * from tenantkeep.find_referrers($1::oid, $2::regclass, $3::regclass)',
        [foreignKey.oid, parent.staged, child?.staged ?? null],
      ),
    )
    if (rows.length === 0) return
    const referenced = new Set(rows.map((row) => row.row_no))
    if (options.on_referenced === 'keep') {
      await this.#session.query(
        `update ${parent.staged} set ${ACTION} = case ${ACTION}
           when 'delete' then 'keep' when 'before' then 'unused' else 'skip' end
         where ${ROW} = any ($1::bigint[]) and ${ACTION} in ('delete', 'update', 'replace', 'before')`,
        [[...referenced]],
      )
      this.#noteChange()
      this.#warn(
        parent.live.label,
        `${referenced.size} rows stay as they are: rows that stay refer to them by ${foreignKey.name}.`,
      )
      return
    }
    this.#block(
      'referenced',
      parent,
      foreignKey.name,
      referenced,
      (count) =>
        `${count} rows of ${parent.live.label} should go, but rows of ${foreignKey.childName} that stay refer to them (${foreignKey.name}). Choose on_referenced: keep, or remove those first.`,
    )
  }

  #isReturnedTo({ parentLabel }: ForeignKey): boolean {
    return parentLabel !== null && this.#plan.returning.has(parentLabel)
  }

  async #release(
    table: StagedTable,
    places: readonly (readonly [string, string, string])[],
  ): Promise<void> {
    const rowCount = await putAside(this.#session, table, places)
    if (rowCount === 0) return
    this.#noteChange()
    this.#warn(
      table.live.label,
      `${rowCount} rows that nobody owns stand in the way; they are put aside, and an undo brings them back.`,
    )
  }

  async #skip(table: StagedTable, rows: ReadonlySet<string>, actions: string): Promise<void> {
    const { rowCount } = await this.#session.query(
      `update ${table.staged} as s set ${ACTION} = case when s.${ACTION} = 'before' then 'unused' else 'skip' end
       where s.${ROW} = any ($1::bigint[]) and (s.${ACTION} in ${actions} or (s.${ACTION} = 'before' and exists (
         select from ${table.staged} as w where w.${ROW} = s.${ROW} and w.${ACTION} in ${actions})))`,
      [[...rows]],
    )
    if (rowCount > 0) this.#noteChange()
  }

  /** Rows that a choice made equal to what is there need no write; else every restore would write them again. */
  async #leaveEqual(table: StagedTable): Promise<void> {
    const { shared, staged } = table
    const differs = rowsDiffer(shared, comparedColumns(shared), 's', 'b')
    if (differs === null) return
    const { rows } = await this.#session.query<{ row_no: string }>(
      `select s.${ROW} as row_no from ${staged} as s join ${staged} as b using (${ROW})
       where s.${ACTION} in ('update', 'replace') and b.${ACTION} = 'before' and (${differs}) is not true`,
    )
    if (rows.length > 0) await this.#skip(table, new Set(rows.map((row) => row.row_no)), FINAL)
  }

  #noteChange(): void {
    this.#hasChangedSince = true
    this.#actions.clear()
  }

  /** Asked for every key and foreign key, so the answer is kept until something changes. */
  async #has(table: StagedTable, actions: readonly string[]): Promise<boolean> {
    const known = this.#actions.get(table)
    const counts = known ?? (await countActions(this.#session, table))
    this.#actions.set(table, counts)
    return actions.some((action) => (counts[action] ?? 0) > 0)
  }

  /** Whom the return of rows lets in: memberships, and whatever keeps its rights live. */
  async #findAccessChanges(): Promise<RestoreResult['accessChanges']> {
    const changes: RestoreResult['accessChanges'] = []
    const { membership } = this.#plan.constraints
    for (const table of this.#plan.tables.values()) {
      const isMembership = table.live.label === membership?.label
      if (!isMembership && table.live.keepLive.length === 0) continue
      const moved = isMembership
        ? membership.columns
            .filter((name) => table.shared.columns.some((column) => column.name === name))
            .map((name) => `s.${quoteIdentifier(name)} is distinct from b.${quoteIdentifier(name)}`)
        : []
      const { rows } = await this.#session.query<{ row_no: string }>(
        `select s.${ROW} as row_no from ${table.staged} as s
         left join ${table.staged} as b on b.${ROW} = s.${ROW} and b.${ACTION} = 'before'
         where s.${ACTION} = 'insert'${
           moved.length === 0
             ? ''
             : ` or (s.${ACTION} in ('update', 'replace') and (${moved.join(' or ')}))`
         }`,
      )
      if (rows.length === 0) continue
      changes.push({
        table: table.live.label,
        count: rows.length,
        keys: await readKeys(
          this.#session,
          table,
          rows.slice(0, MOST_KEYS).map((row) => row.row_no),
        ),
      })
    }
    return changes
  }

  #block(
    code: Blocker['code'],
    table: StagedTable,
    constraint: string | null,
    rows: ReadonlySet<string>,
    message: (count: number) => string,
  ): void {
    const name = `${code} ${table.live.label} ${constraint}`
    const known = this.#found.get(name)
    const all = new Set([...(known?.rows ?? []), ...rows])
    this.#found.set(name, { code, table, constraint, rows: all, message })
  }

  #warn(table: string, message: string): void {
    this.#warnings.set(`${table} ${message}`, { table, message })
  }
}

/** A live row that holds a key which a staged row needs, by its place. */
interface KeyHolder {
  row_no: string
  holder_tableoid: string
  holder_ctid: string
  holder_xmin: string
  is_owned: boolean
}

/** Who holds the keys that rows which are to be written need, over all tenants. Called and left as the operator. */
export async function findKeyHolders(
  session: Queryable,
  table: StagedTable,
  key: UniqueKey,
): Promise<KeyHolder[]> {
  const { rows } = await asWorker(session, () =>
    session.query<KeyHolder>(
      'select * from tenantkeep.find_key_holders($1::oid::regclass, $2::regclass)',
      [key.indexOid, table.staged],
    ),
  )
  return rows
}

/**
 * Notes live rows, by their tableoid, ctid and xmin, as rows that will be out of the way. Returns how many were
 * not noted before.
 */
export async function putAside(
  session: Queryable,
  table: StagedTable,
  places: readonly (readonly [string, string, string])[],
): Promise<number> {
  if (places.length === 0) return 0
  const { rowCount } = await session.query(
    `insert into ${table.staged} (${ROW}, ${ACTION}, ${TABLEOID}, ${CTID}, ${XMIN})
     select ${table.nextRow - 1} + row_number() over (), 'release', given.* from (
       select distinct * from unnest($1::oid[], $2::tid[], $3::xid[]) as place (a, b, c)
     ) as given
     where not exists (
       select from ${table.staged} as s
       where s.${ACTION} = 'release' and s.${TABLEOID} = given.a and s.${CTID} = given.b)`,
    [
      places.map(([tableoid]) => tableoid),
      places.map(([, ctid]) => ctid),
      places.map(([, , xmin]) => xmin),
    ],
  )
  table.nextRow += rowCount
  return rowCount
}

/** A row that nobody owns may go where the very same row comes back, and nothing refers to it otherwise. */
export function isAdoptable(
  table: StagedTable,
  key: UniqueKey,
  { foreignKeys }: Pick<Constraints, 'foreignKeys'>,
): boolean {
  const isIdentity = key.isPrimary || table.live.primaryKey.length === 0
  const own = [...key.columns].sort().join()
  return (
    isIdentity &&
    foreignKeys.every(
      ({ parentLabel, parentColumns }) =>
        parentLabel !== key.label || [...parentColumns].sort().join() === own,
    )
  )
}

function describeAccessChange(change: RestoreResult['accessChanges'][number]): Blocker {
  return {
    code: 'access_changes',
    table: change.table,
    constraint: null,
    count: change.count,
    keys: change.keys,
    message: `${change.count} rows of ${change.table} would come back that give somebody access (a member, a role, a key, an invitation). Look at them, and confirm with accept_access_changes.`,
  }
}

/** The keys of these rows of a staged table; nothing where it has no key. */
export async function readKeys(
  session: Queryable,
  table: StagedTable,
  rows: readonly string[],
): Promise<string[][]> {
  if (table.shared.primaryKey.length === 0 || rows.length === 0) return []
  const { rows: keys } = await session.query<{ key: string[] }>(
    `select distinct on (s.${ROW}) ${keyOf(table.shared, 's')} as key from ${table.staged} as s
     where s.${ROW} = any ($1::bigint[]) and s.${ACTION} <> 'before' order by s.${ROW}`,
    [rows],
  )
  return keys.map(({ key }) => key)
}
