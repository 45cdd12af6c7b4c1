/**
 * The look of a seeding: what each row of the template is to the tenant, and what comes of it. Runs as the
 * operator confined to the tenant, in one frozen picture; every live row it sees is the tenant's own. It
 * leaves the plan in the actions of the staged rows, with all values as they will be written.
 */
import { createHash } from 'node:crypto'
import canonicalize from 'canonicalize'
import type { Snapshot } from '../backup/read-snapshot.ts'
import type { Connection, Queryable } from '../database/database.ts'
import { sqlstateOf } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import { CREATE_REFUSED } from '../restore/apply-plan.ts'
import { asWorker } from '../restore/as-worker.ts'
import { CREATE_PLAN } from '../restore/describe-plan.ts'
import { equalKey, keyOf, liveRows, rowsDiffer } from '../restore/diff-table.ts'
import type { UniqueKey } from '../restore/read-constraints.ts'
import { createStagedTable, readFunctionOwner } from '../restore/stage-table.ts'
import { ACTION, CTID, ROW, TABLEOID, XMIN } from '../restore/staged-table.ts'
import type { ProtectedTable } from '../tables/protected-table.ts'
import { quoteIdentifier, quoteLiteral } from '../tables/quote-identifier.ts'
import type { Reference } from './read-references.ts'
import { isGiven, matches, type Template } from './read-template.ts'
import type { BadRow, SeedBlocker, SeedOptions } from './seed-types.ts'
import {
  DECISIONS,
  digestOf,
  MISSING,
  measure,
  runAll,
  SEEDING,
  type SeededTable,
} from './seeding.ts'
import { manualIndex, stageManualRows } from './stage-manual-rows.ts'

/** Every adopted row may give the rows that refer to it another value, and these may be taken too. */
const ROUNDS = 30
const MOST_KEYS = 20
/** Rows with the values that they will have, or would. */
const ACTIVE = `('insert', 'update', 'conflict')`

export interface CopyLook {
  snapshot: Snapshot
  template: Template
  /** Tables with rows to write, in the order of ownership. */
  written: SeededTable[]
  planHash: string
  blockers: SeedBlocker[]
  badRows: BadRow[]
  conflictCount: number
}

interface LookInput {
  tenantId: string
  template: Template
  options: SeedOptions
}

/** Looks, in the caller's transaction. */
export async function lookAtCopies(
  connection: Connection,
  snapshot: Snapshot,
  input: LookInput,
): Promise<CopyLook> {
  if (snapshot.fingerprint !== input.template.fingerprint) {
    throw new BackupError(
      'registry_changed',
      'The schema changed while the template was read. Try again.',
    )
  }
  const looker = new CopyLooker(connection, snapshot, input)
  return looker.look()
}

class CopyLooker {
  readonly #session: Connection
  readonly #snapshot: Snapshot
  readonly #input: LookInput
  readonly #template: Template
  /** With rows of the template. The tenant's own table is in neither list. */
  readonly #tables: SeededTable[]
  /** And those with rows of the request. */
  readonly #allTables: SeededTable[]
  readonly #byLabel: Map<string, SeededTable>
  readonly #blockers: SeedBlocker[]
  readonly #badRows: BadRow[] = []

  constructor(session: Connection, snapshot: Snapshot, input: LookInput) {
    this.#session = session
    this.#snapshot = snapshot
    this.#input = input
    this.#template = input.template
    this.#blockers = [...input.template.blockers]
    this.#allTables = input.template.tables.filter((table) => table !== input.template.root)
    this.#tables = this.#allTables.filter(({ rowsInTemplate }) => rowsInTemplate > 0)
    this.#byLabel = new Map(input.template.tables.map((table) => [table.live.label, table]))
  }

  async look(): Promise<CopyLook> {
    for (const table of this.#template.tables) {
      table.rowsLive = this.#snapshot.census.get(table.live.label) ?? 0
      table.nextRow = table.rowsInTemplate + 1
    }
    const remembered = await this.#stage()
    if (remembered.length > 0) await this.#findCopies(remembered)
    await this.#decide()
    await this.#drawValues()
    const { options, tenantId } = this.#input
    if (options.manual_rows !== null) {
      this.#badRows.push(
        ...(await stageManualRows(this.#session, this.#template, {
          rows: options.manual_rows,
          tenantId,
        })),
      )
    }
    await runAll(this.#session, [
      `analyze ${SEEDING} (verdict, decision)`,
      ...this.#allTables.flatMap((table) => measure(table, table.staged, [ROW, ACTION])),
    ])
    for (let round = 1; round <= ROUNDS; round += 1) {
      await this.#follow()
      if (!(await this.#settleTaken())) break
    }
    await this.#settleUpdates()
    await this.#describeMissing()
    return {
      snapshot: this.#snapshot,
      template: this.#template,
      written: await this.#findWritten(),
      planHash: await this.#hashPlan(),
      blockers: this.#blockers,
      badRows: this.#badRows,
      conflictCount: await this.#countConflicts(),
    }
  }

  /** The rows as the template has them, with the tenant's id; and what the memory knows of them. */
  async #stage(): Promise<SeededTable[]> {
    const { tables, root } = this.#template
    const functionOwner = await asWorker(this.#session, () => readFunctionOwner(this.#session))
    await runAll(this.#session, [
      `drop table if exists ${tables.map(({ staged }) => staged).join(', ')}`,
      ...tables.map(({ live, staged }) => createStagedTable(live, staged.replace('pg_temp.', ''))),
      `grant select on ${tables.map(({ staged }) => staged).join(', ')} to ${quoteIdentifier(functionOwner)}`,
      'drop table if exists pg_temp.tenantkeep_refused, pg_temp.tenantkeep_plan',
      CREATE_REFUSED,
      CREATE_PLAN,
      // The tenant's own row stands for the template's.
      `insert into ${root.staged} (${columnsOf(root.live)}, ${ROW}, ${ACTION})
       select ${columnsOf(root.live)}, 1, 'same' from ${liveRows(root.live)}`,
      ...this.#tables.map((table) => this.#stageRows(table)),
      `delete from ${SEEDING} where is_manual`,
      `update ${SEEDING} set tenant_key = null, shape_id = null, then_template = null, then_copy = null,
         is_declined = false, now_template = null, now_copy = null, verdict = null, decision = null,
         constraint_name = null, held_by = null`,
    ])
    if (this.#tables.length === 0) return []
    const numbers = this.#tables.map(
      ({ index, live }) => `(${index}, ${quoteLiteral(live.schema)}, ${quoteLiteral(live.name)})`,
    )
    const { rows } = await this.#session.query<{ table_no: number }>(
      `with known as (
         update ${SEEDING} as x set tenant_key = m.tenant_key, shape_id = m.shape_id,
           then_template = m.template_digest, then_copy = m.copy_digest, is_declined = m.is_declined
         from (values ${numbers.join(', ')}) as t (table_no, schema_name, table_name), tenantkeep.seeded_rows as m
         where t.table_no = x.table_no and m.tenant_id = (select tenantkeep.current_tenant())
           and m.schema_name = t.schema_name and m.table_name = t.table_name and m.template_key = x.template_key
         returning x.table_no)
       select distinct table_no from known`,
    )
    const known = new Set(rows.map((row) => row.table_no))
    return this.#tables.filter(({ index }) => known.has(index))
  }

  #stageRows({ live, template, staged }: SeededTable): string {
    const { root, tenantColumns } = this.#template
    const tenantId = (column: string) =>
      // As the column's own type, without naming it.
      `(json_populate_record(null::${staged}, json_build_object(${quoteLiteral(column)}, ${quoteLiteral(this.#input.tenantId)}::text))).${quoteIdentifier(column)}`
    const rootKey = tenantColumns.get(root.live.label)
    const replaced = new Set([
      ...(tenantColumns.get(live.label) ?? []),
      ...this.#template.references
        .filter(({ child, parent }) => child === live.label && parent === root.live.label)
        .flatMap(({ childColumns, parentColumns }) =>
          childColumns.filter((_, at) => rootKey?.has(parentColumns[at] ?? '') === true),
        ),
    ])
    const values = live.columns.map(({ name, isGenerated }) => {
      const value = `t.${quoteIdentifier(name)}`
      if (isGenerated) return 'null'
      if (!replaced.has(name)) return value
      return `case when ${value}::text = ${quoteLiteral(this.#template.id)} then own.${quoteIdentifier(name)} else ${value} end`
    })
    const own = live.columns
      .filter(({ name }) => replaced.has(name))
      .map(({ name }) => `${tenantId(name)} as ${quoteIdentifier(name)}`)
    return `insert into ${staged} (${columnsOf(live)}, ${ROW})
      select ${values.join(', ')}, t.${ROW}
      from ${template} as t${own.length === 0 ? '' : `, (select ${own.join(', ')} offset 0) as own`}`
  }

  /** Finds the copies that the memory names, and what both sides look like now. */
  async #findCopies(tables: readonly SeededTable[]): Promise<void> {
    await runAll(
      this.#session,
      tables.flatMap((table) => {
        const { shared, staged, index } = table
        const key = shared.primaryKey.map(({ name }) => name)
        const texts = key.map((name, at) => `${quoteLiteral(name)}, x.tenant_key -> ${at}`)
        const set = key.map((name) => `${quoteIdentifier(name)} = p.${quoteIdentifier(name)}`)
        return [
          `update ${staged} as s set ${set.join(', ')}
           from ${SEEDING} as x,
             json_populate_record(null::${staged}, jsonb_build_object(${texts.join(', ')})::json) as p
           where x.table_no = ${index} and x.row_no = s.${ROW} and x.tenant_key is not null`,
          addBefore(
            table,
            `s.${ROW} in (select x.row_no from ${SEEDING} as x where x.table_no = ${index} and x.tenant_key is not null)`,
          ),
          placeRows(table),
          `update ${SEEDING} as x set now_template = x.template_digest, now_copy = ${digestOf(shared, 'b')}
           from ${staged} as b
           where b.${ROW} = x.row_no and b.${ACTION} = 'before' and x.table_no = ${index}`,
        ]
      }),
    )
    const { rows } = await this.#session.query<{
      table_no: number
      shape_id: number
      columns: string[]
    }>(
      `select distinct x.table_no, x.shape_id, h.columns
       from ${SEEDING} as x join tenantkeep.seeded_shapes as h on h.id = x.shape_id`,
    )
    await runAll(
      this.#session,
      rows.flatMap(({ table_no, shape_id, columns }) => {
        const table = tables.find(({ index }) => index === table_no)
        if (table === undefined) return []
        const { shared, staged, template, index } = table
        const now = new Set(shared.columns.map(({ name }) => name))
        if (columns.length === now.size && columns.every((name) => now.has(name))) return []
        // Where a column is gone nobody can tell what was changed; then what is there now is compared.
        const isGone = !columns.every((name) => now.has(name))
        const then = new Set(columns)
        const digest = (alias: string) => (isGone ? 'null' : digestOf(shared, alias, then))
        return [
          `update ${SEEDING} as x set now_template = ${digest('t')}, now_copy = ${digest('b')}
           from ${staged} as b, ${template} as t
           where b.${ROW} = x.row_no and b.${ACTION} = 'before' and t.${ROW} = x.row_no
             and x.table_no = ${index} and x.shape_id = ${shape_id}`,
        ]
      }),
    )
  }

  /** What each row is, and what is done with it. */
  async #decide(): Promise<void> {
    const { mode } = this.#input.options
    const isCopied = `exists (select from pg_temp.tenantkeep_copies as b where b.table_no = x.table_no and b.row_no = x.row_no)`
    const copies = this.#tables.map(
      ({ index, staged }) =>
        `select ${index} as table_no, b.${ROW} as row_no from ${staged} as b where b.${ACTION} = 'before'`,
    )
    if (copies.length === 0) return
    await runAll(this.#session, [
      'drop table if exists pg_temp.tenantkeep_copies',
      `create temp table tenantkeep_copies as ${copies.join(' union all ')}`,
      `update ${SEEDING} as x set verdict = case
         when x.tenant_key is null then case when x.is_in_scope then 'new' else 'outside' end
         when not ${isCopied} then 'deleted'
         when x.is_declined then 'declined'
         when x.now_copy is null then 'both_changed'
         when x.now_copy = x.then_copy and x.now_template = x.then_template then 'unchanged'
         when x.now_copy = x.then_copy then 'update'
         when x.now_template = x.then_template then 'edited'
         else 'both_changed' end`,
      `update ${SEEDING} as x set decision = ${decisionFor('x.verdict')}
       where x.is_in_scope and exists (select from ${DECISIONS})`,
      ...this.#tables.map(
        ({ index, staged }) =>
          `update ${staged} as s set ${ACTION} = case
             when x.verdict = 'new' then 'insert'
             when x.verdict = 'deleted' then case when x.decision = 'recreate' then 'insert' else 'skip' end
             when x.verdict = 'outside' then 'skip'
             when not x.is_in_scope then 'same'
             when x.verdict = 'update' and ${mode !== 'missing'} then 'update'
             when x.verdict in ('edited', 'both_changed')
               and ${mode === 'overwrite' ? `x.decision is distinct from 'keep'` : `x.decision = 'overwrite'`} then 'update'
             when x.verdict = 'both_changed' and ${mode === 'update'} and x.decision is null then 'conflict'
             else 'same' end
           from ${SEEDING} as x
           where x.table_no = ${index} and x.row_no = s.${ROW} and s.${ACTION} is null`,
      ),
      'drop table pg_temp.tenantkeep_copies',
    ])
    await this.#takeLiveValues(this.#tables)
  }

  /** Rows that stay as they are have the tenant's values: others refer to these. */
  async #takeLiveValues(tables: readonly SeededTable[]): Promise<void> {
    await runAll(
      this.#session,
      tables
        .filter(({ rowsLive }) => rowsLive > 0)
        .flatMap(({ live, staged }) => {
          const set = live.columns.map(
            ({ name }) => `${quoteIdentifier(name)} = b.${quoteIdentifier(name)}`,
          )
          return [
            `update ${staged} as s set ${set.join(', ')} from ${staged} as b
             where b.${ROW} = s.${ROW} and b.${ACTION} = 'before' and s.${ACTION} = 'same'`,
          ]
        }),
    )
  }

  /** New keys, and whatever else the database makes for a row that is new. */
  async #drawValues(): Promise<void> {
    const statements: string[] = []
    for (const { live, staged } of this.#tables) {
      const inserted = `select s.${ROW} as row_no, row_number() over (order by s.${ROW}) as turn
        from ${staged} as s where s.${ACTION} = 'insert'`
      const made: string[] = []
      for (const column of this.#template.renewed.get(live.label) ?? []) {
        const source = this.#template.sources.find(
          (candidate) => candidate.label === live.label && candidate.column === column,
        )
        if (source === undefined) continue
        const name = quoteIdentifier(column)
        if (!source.isSequence) {
          made.push(`${name} = (${source.expression})`)
          continue
        }
        const of = [live.schema, live.name, column].map(quoteLiteral).join(', ')
        statements.push(
          `update ${staged} as s set ${name} = v.next_value
           from (${inserted}) as i, tenantkeep.next_values(${of},
             (select count(*) from ${staged} as c where c.${ACTION} = 'insert')) as v
           where v.turn = i.turn and i.row_no = s.${ROW} and s.${ACTION} = 'insert'`,
        )
      }
      if (made.length > 0) {
        statements.push(`update ${staged} set ${made.join(', ')} where ${ACTION} = 'insert'`)
      }
    }
    try {
      await runAll(this.#session, statements)
    } catch (cause) {
      if (!/^(42|P0|22|23)/.test(sqlstateOf(cause) ?? '')) throw cause
      throw new BackupError(
        'seed_blocked',
        `A column's default could not be evaluated by the role tenantkeep_operator (${sqlstateOf(cause)}), so there are no keys for the copies. Grant it what the default uses: \`grant usage on sequence … to tenantkeep_operator\`, or execute on the function. Nothing was written.`,
        { cause },
      )
    }
  }

  /** References lead to the copies; rows whose parents are not copied are passed over, with all below. */
  async #follow(): Promise<void> {
    const followed = this.#template.references.flatMap((reference, referenceNo) => {
      const child = this.#byLabel.get(reference.child)
      const parent = this.#byLabel.get(reference.parent)
      if (child === undefined || parent === undefined) return []
      if (child.rowsInTemplate === 0 || parent.rowsInTemplate === 0) return []
      if (child === this.#template.root || this.#isTenantsId(reference)) return []
      return [{ reference, referenceNo, child, parent }]
    })
    await runAll(
      this.#session,
      followed.map(({ reference, child, parent }) => {
        const set = reference.childColumns.map((name, at) => {
          const other = reference.parentColumns[at] ?? name
          return `${quoteIdentifier(name)} = ${sameType(reference, { child, parent, name, other })}`
        })
        return `update ${child.staged} as s set ${set.join(', ')}
          from ${child.template} as t, ${parent.template} as tp, ${parent.staged} as sp
          where t.${ROW} = s.${ROW} and s.${ACTION} in ${ACTIVE}
            and ${isGiven(reference, 't')} and ${matches(reference, 't', 'tp')}
            and sp.${ROW} = tp.${ROW} and sp.${ACTION} in ('insert', 'update', 'conflict', 'same')`
      }),
    )
    const passing = followed.filter(({ parent }) => parent !== this.#template.root)
    if (!(await this.#hasSkipped())) return
    for (let round = 1; round <= ROUNDS; round += 1) {
      let count = 0
      for (const { reference, referenceNo, child, parent } of passing) {
        const { rows } = await this.#session.query<{ count: string }>(
          `with passed as (
             select s.${ROW} as row_no, px.verdict
             from ${child.staged} as s, ${child.template} as t, ${parent.template} as tp,
               ${parent.staged} as sp, ${SEEDING} as px
             where t.${ROW} = s.${ROW} and s.${ACTION} in ${ACTIVE}
               and ${isGiven(reference, 't')} and ${matches(reference, 't', 'tp')}
               and sp.${ROW} = tp.${ROW} and sp.${ACTION} = 'skip'
               and px.table_no = ${parent.index} and px.row_no = sp.${ROW}
           ), missing as (
             insert into ${MISSING}
             select ${child.index}, p.row_no, ${referenceNo} from passed as p
             where p.verdict = 'outside' and not exists (
               select from ${MISSING} as m
               where (m.table_no, m.row_no, m.reference_no) = (${child.index}, p.row_no, ${referenceNo}))
           ), noted as (
             update ${SEEDING} as x set verdict = 'skipped' from passed as p
             where p.verdict <> 'outside' and x.table_no = ${child.index} and x.row_no = p.row_no
               and not exists (select from ${child.staged} as b where b.${ROW} = p.row_no and b.${ACTION} = 'before')
           ), done as (
             update ${child.staged} as s set ${ACTION} = case when exists (
                 select from ${child.staged} as b where b.${ROW} = s.${ROW} and b.${ACTION} = 'before')
               then 'same' else 'skip' end
             from passed as p where p.row_no = s.${ROW} and s.${ACTION} in ${ACTIVE}
               and p.verdict <> 'outside'
             returning 1)
           select count(*) as count from done`,
        )
        count += Number(rows[0]?.count)
      }
      if (count === 0) return
    }
  }

  /** What is replaced while rows are staged. */
  #isTenantsId({ parent, parentColumns }: Reference): boolean {
    const { root, tenantColumns } = this.#template
    const key = tenantColumns.get(root.live.label)
    return parent === root.live.label && parentColumns.every((name) => key?.has(name) === true)
  }

  async #hasSkipped(): Promise<boolean> {
    const { rows } = await this.#session.query(
      `select from ${SEEDING} where verdict in ('deleted', 'outside', 'skipped') limit 1`,
    )
    return rows.length > 0
  }

  /**
   * Unique values that rows of the tenant's own have, or other tenants'. Returns whether a row was taken for
   * the copy, so that what refers to it has to follow.
   */
  async #settleTaken(): Promise<boolean> {
    const active = new Set((await this.#findWritten()).map(({ live }) => live.label))
    const keys = this.#template.constraints.uniqueKeys.filter(
      (key) => active.has(key.label) && this.#canBeTaken(key),
    )
    if (keys.length === 0) return false
    const holders = await asWorker(this.#session, async () => {
      const found: { key: UniqueKey; rows: Holder[] }[] = []
      for (const key of keys) {
        const table = this.#byLabel.get(key.label)
        if (table === undefined) continue
        const { rows } = await this.#session.query<Holder>(
          `select row_no, holder_tableoid, holder_ctid
           from tenantkeep.find_key_holders($1::oid::regclass, $2::regclass)`,
          [key.indexOid, table.staged],
        )
        if (rows.length > 0) found.push({ key, rows })
      }
      return found
    })
    let hasAdopted = false
    for (const { key, rows } of holders) {
      const table = this.#byLabel.get(key.label)
      if (table !== undefined && (await this.#settleKey(key, table, rows))) hasAdopted = true
    }
    return hasAdopted
  }

  /**
   * What the database just made nobody has. What the tenant's column or a reference is part of only the
   * tenant's own rows can have, or rows that are not as they should be, which the database refuses by itself.
   */
  #canBeTaken({ label, columns }: UniqueKey): boolean {
    const table = this.#byLabel.get(label)
    if (table === undefined || table === this.#template.root) return false
    const renewed = this.#template.renewed.get(label)
    if (columns.some((column) => renewed?.has(column) === true)) return false
    return table.rowsLive > 0 || !columns.some((column) => this.#differs(label, column))
  }

  async #settleKey(key: UniqueKey, table: SeededTable, holders: Holder[]): Promise<boolean> {
    const { live, shared, staged, index } = table
    const pairs = [
      holders.map((h) => h.row_no),
      holders.map((h) => h.holder_tableoid),
      holders.map((h) => h.holder_ctid),
    ]
    // Under row level security: only the tenant's own rows are found.
    const { rows } = await this.#session.query<{
      row_no: string
      action: string
      is_own: boolean
      decision: string | null
      is_copy: boolean
      is_manual: boolean
      template_key: unknown
    }>(
      `with held as (
         select h.row_no, ${keyOf(shared, 'live')} as key, live.${TABLEOID} is not null as is_own
         from unnest($1::bigint[], $2::oid[], $3::tid[]) as h (row_no, place, at)
         left join ${liveRows(live)} on live.${CTID} = h.at and live.${TABLEOID} = h.place
       ), known as (
         update ${SEEDING} as x set held_by = case when h.is_own then h.key end, constraint_name = ${quoteLiteral(key.name)}
         from held as h where x.table_no = ${index} and x.row_no = h.row_no and x.held_by is null
         returning x.row_no, x.template_key, x.table_no, x.is_manual, h.is_own, h.key)
       select k.row_no, k.is_manual, k.template_key, s.${ACTION} as action, k.is_own,
         ${decisionFor(`'natural_key_taken'`, 'k')} as decision,
         exists (select from ${staged} as o where o.${ACTION} in ('same', 'update') and ${keyOf(shared, 'o')} = k.key) as is_copy
       from known as k join ${staged} as s on s.${ROW} = k.row_no and s.${ACTION} in ('insert', 'update')`,
      pairs,
    )
    for (const { template_key } of rows.filter((row) => row.is_manual)) {
      this.#badRows.push({
        table: live.label,
        index: manualIndex(template_key),
        column: key.columns.length === 1 ? (key.columns[0] ?? null) : null,
        reason: `another row has its value of ${key.name}`,
      })
    }
    await this.#session.query(
      `update ${staged} set ${ACTION} = 'skip' where ${ROW} = any ($1::bigint[])`,
      [rows.filter((row) => row.is_manual).map(({ row_no }) => row_no)],
    )
    const copies = rows.filter((row) => !row.is_manual)
    const foreign = copies.filter((row) => !row.is_own)
    if (foreign.length > 0)
      await this.#blockTaken(
        key,
        table,
        foreign.map(({ row_no }) => row_no),
      )
    const own = copies.filter((row) => row.is_own)
    if (own.length === 0) return false
    const adopted = own.filter(({ action, is_copy }) => action === 'insert' && !is_copy)
    const written = adopted.filter(({ decision }) => decision === 'overwrite')
    const others = own.filter((row) => !adopted.includes(row))
    const numbers = (list: typeof own) => list.map(({ row_no }) => row_no)
    // The tenant's row stands for the copy from here on, decided or not: what is below can be rehearsed.
    const keyColumns = shared.primaryKey.map(({ name }) => quoteIdentifier(name))
    await this.#session.query(
      `update ${staged} as s set ${keyColumns.map((name) => `${name} = live.${name}`).join(', ')},
         ${ACTION} = case when s.${ROW} = any ($2::bigint[]) then 'update'
           when s.${ROW} = any ($3::bigint[]) then 'conflict' else 'same' end
       from ${SEEDING} as x, ${liveRows(live)}
       where x.table_no = ${index} and x.row_no = s.${ROW} and s.${ROW} = any ($1::bigint[])
         and s.${ACTION} = 'insert' and ${keyOf(shared, 'live')} = x.held_by`,
      [numbers(adopted), numbers(written), numbers(adopted.filter((row) => row.decision === null))],
    )
    await this.#session.query(addBefore(table, `s.${ROW} = any ($1::bigint[])`), [numbers(adopted)])
    await this.#session.query(placeRows(table))
    await this.#session.query(
      `update ${SEEDING} as x set now_copy = ${digestOf(shared, 'b')} from ${staged} as b
       where x.table_no = ${index} and b.${ROW} = x.row_no and b.${ACTION} = 'before'
         and x.row_no = any ($1::bigint[])`,
      [numbers(adopted)],
    )
    await this.#session.query(
      `update ${SEEDING} as x set verdict = 'natural_key_taken', decision = d.decision
       from unnest($1::bigint[], $2::text[]) as d (row_no, decision)
       where x.table_no = ${index} and x.row_no = d.row_no`,
      [
        numbers(own),
        // Where the row is the copy of another row of the template it can't be this one's too.
        own.map((row) => (others.includes(row) && row.decision !== 'keep' ? null : row.decision)),
      ],
    )
    await this.#session.query(
      `update ${staged} as s set ${ACTION} = case when s.${ACTION} = 'update' then 'same' else 'skip' end
       where s.${ROW} = any ($1::bigint[]) and s.${ACTION} in ('insert', 'update')`,
      [numbers(others)],
    )
    await this.#takeLiveValues([table])
    return true
  }

  async #blockTaken(key: UniqueKey, table: SeededTable, rows: string[]): Promise<void> {
    const { label } = table.live
    const isShared = !key.columns.some((column) => this.#differs(label, column))
    this.#blockers.push({
      code: isShared ? 'seed_key_shared' : 'key_taken',
      table: label,
      constraint: key.name,
      count: rows.length,
      keys: await this.#readKeys(table, rows),
      message: isShared
        ? `${rows.length} rows of ${label} can't be copied: ${key.name} allows each value once for all tenants, and neither the tenant's column nor a default makes it another one. Give the column a default, put the tenant's column into the key, or take the table's mark away.`
        : `${rows.length} rows of ${label} can't be copied: a row that is not this tenant's has their value of ${key.name}.`,
    })
    await this.#session.query(
      `update ${table.staged} set ${ACTION} = 'skip' where ${ROW} = any ($1::bigint[]) and ${ACTION} = 'insert'`,
      [rows],
    )
  }

  #differs(label: string, column: string): boolean {
    return (
      this.#template.tenantColumns.get(label)?.has(column) === true ||
      this.#template.renewed.get(label)?.has(column) === true ||
      this.#template.references.some(
        ({ child, childColumns }) => child === label && childColumns.includes(column),
      )
    )
  }

  /** An update keeps its key and what the tenant alone says; where nothing is left to change, there is none. */
  async #settleUpdates(): Promise<void> {
    await runAll(
      this.#session,
      this.#tables
        .filter(({ rowsLive }) => rowsLive > 0)
        .flatMap((table) => {
          const { shared, staged, index } = table
          const kept = keptColumns(table, this.#template)
          const set = kept.map((name) => `${quoteIdentifier(name)} = b.${quoteIdentifier(name)}`)
          const both = `from ${staged} as b
            where b.${ROW} = s.${ROW} and b.${ACTION} = 'before' and s.${ACTION} in ('update', 'conflict')`
          const compared = shared.columns
            .map(({ name }) => name)
            .filter((name) => !kept.includes(name))
          const differs = rowsDiffer(shared, compared, 's', 'b') ?? 'false'
          return [
            ...(set.length === 0 ? [] : [`update ${staged} as s set ${set.join(', ')} ${both}`]),
            `with equal as (
               update ${staged} as s set ${ACTION} = 'same' ${both} and not (${differs})
                 and not exists (select from ${SEEDING} as x where x.table_no = ${index}
                   and x.row_no = s.${ROW} and x.verdict = 'natural_key_taken' and x.decision is null)
               returning s.${ROW} as row_no)
             update ${SEEDING} as x set verdict = case x.verdict when 'natural_key_taken' then x.verdict else 'unchanged' end
             from equal as e where x.table_no = ${index} and x.row_no = e.row_no`,
            `update ${staged} as b set ${ACTION} = 'unused' where b.${ACTION} = 'before' and not exists (
               select from ${staged} as s where s.${ROW} = b.${ROW} and s.${ACTION} in ('update', 'conflict'))`,
          ]
        }),
    )
  }

  /** References to rows of the template that nobody copies. */
  async #describeMissing(): Promise<void> {
    const { rows } = await this.#session.query<{
      table_no: number
      reference_no: number
      count: string
      keys: string[][]
    }>(
      `select m.table_no, m.reference_no, count(*) as count,
         (array_to_json((array_agg(x.template_key order by x.row_no))[1:${MOST_KEYS}])) as keys
       from ${MISSING} as m join ${SEEDING} as x on x.table_no = m.table_no and x.row_no = m.row_no
       where x.verdict in ('new', 'update', 'both_changed', 'edited', 'deleted')
         and x.is_in_scope and (${
           this.#tables
             .map(
               ({ index, staged }) =>
                 `x.table_no = ${index} and exists (select from ${staged} as s where s.${ROW} = x.row_no and s.${ACTION} in ${ACTIVE})`,
             )
             .join(' or ') || 'false'
         })
       group by 1, 2 order by 1, 2`,
    )
    for (const { table_no, reference_no, count, keys } of rows) {
      const table = this.#tables.find(({ index }) => index === table_no)
      const reference = this.#template.references[reference_no]
      if (table === undefined || reference === undefined) continue
      const { label } = table.live
      this.#blockers.push({
        code: 'seed_reference_missing',
        table: label,
        constraint: reference.name,
        count: Number(count),
        keys,
        message: `${count} rows of ${label} refer to rows of ${reference.parent} that are not copied${reference.name === null ? '' : ` (${reference.name})`}. Take ${reference.parent} along, or change the rows of the template.`,
      })
    }
  }

  async #findWritten(): Promise<SeededTable[]> {
    if (this.#allTables.length === 0) return []
    const counted = this.#allTables.map(
      ({ index, staged }) =>
        `select ${index} as index where exists (select from ${staged} where ${ACTION} in ('insert', 'update'))`,
    )
    const { rows } = await this.#session.query<{ index: number }>(counted.join(' union all '))
    const found = new Set(rows.map(({ index }) => index))
    return this.#allTables.filter(({ index }) => found.has(index))
  }

  /** Without the values that are drawn anew each time. */
  async #hashPlan(): Promise<string> {
    const digest = createHash('sha256')
    const { options, tenantId } = this.#input
    const facts = { tenant: tenantId, template: this.#template.id, options }
    digest.update(canonicalize(facts) ?? '')
    if (this.#allTables.length === 0) return digest.digest('hex')
    const actions = this.#allTables.map(
      ({ index, staged, live }) =>
        `select ${index} as table_no, s.${ROW} as row_no, ${quoteLiteral(live.label)} as label, s.${ACTION} as action
         from ${staged} as s where s.${ACTION} not in ('before', 'unused')`,
    )
    const { rows } = await this.#session.query<{ hash: string | null }>(
      `select encode(sha256(convert_to(coalesce(string_agg(jsonb_build_array(a.label, x.template_key, a.action, x.verdict,
           x.template_digest, x.now_copy, x.held_by, x.decision)::text, E'\\n' order by a.label, x.template_key), ''), 'UTF8')), 'hex') as hash
       from (${actions.join(' union all ')}) as a
       join ${SEEDING} as x on x.table_no = a.table_no and x.row_no = a.row_no`,
    )
    digest.update(rows[0]?.hash ?? '')
    return digest.digest('hex')
  }

  async #countConflicts(): Promise<number> {
    const { rows } = await this.#session.query<{ count: string }>(
      `select count(*) as count from ${SEEDING} as x where ${isOpen(this.#input.options.mode)}`,
    )
    return Number(rows[0]?.count)
  }

  async #readKeys(table: SeededTable, rows: readonly string[]): Promise<string[][]> {
    const { rows: found } = await this.#session.query<{ key: string[] }>(
      `select template_key as key from ${SEEDING}
       where table_no = ${table.index} and row_no = any ($1::bigint[]) order by row_no limit ${MOST_KEYS}`,
      [rows],
    )
    return found.map(({ key }) => key)
  }
}

/** Whether something that the tenant changed or made itself is written over. */
export async function hasOverwrites(session: Queryable, { written }: CopyLook): Promise<boolean> {
  const { rows } = await session.query<{ table_no: number }>(
    `select distinct x.table_no from ${SEEDING} as x
     where x.verdict in ('edited', 'both_changed', 'natural_key_taken')`,
  )
  const touched = new Set(rows.map(({ table_no }) => table_no))
  const some = written
    .filter(({ index }) => touched.has(index))
    .map(
      ({ index, staged }) =>
        `exists (select from ${staged} as s join ${SEEDING} as x on x.table_no = ${index} and x.row_no = s.${ROW}
           where s.${ACTION} = 'update' and x.verdict <> 'update')`,
    )
  if (some.length === 0) return false
  const found = await session.query<{ some: boolean }>(`select ${some.join(' or ')} as some`)
  return found.rows[0]?.some === true
}

interface Holder {
  row_no: string
  holder_tableoid: string
  holder_ctid: string
}

/** A row about which somebody has to decide, by alias `x`. */
export function isOpen(mode: SeedOptions['mode']): string {
  const changed =
    mode === 'update'
      ? `x.verdict = 'both_changed' and x.is_in_scope and x.decision is null or `
      : ''
  return `(${changed}x.verdict = 'natural_key_taken' and x.decision is null)`
}

/** Columns of a copy that an update leaves as they are. */
function keptColumns({ live, shared }: SeededTable, { renewed }: Template): string[] {
  const key = new Set(shared.primaryKey.map(({ name }) => name))
  const made = renewed.get(live.label) ?? new Set()
  return shared.columns
    .filter(
      ({ name, isIdentityAlways }) =>
        key.has(name) || live.keepLive.includes(name) || made.has(name) || isIdentityAlways,
    )
    .map(({ name }) => name)
}

function columnsOf(live: ProtectedTable): string {
  return live.columns.map(({ name }) => quoteIdentifier(name)).join(', ')
}

/** Puts the live rows with the keys of staged rows `s` beside them. */
function addBefore({ live, shared, staged }: SeededTable, condition: string): string {
  const columns = live.columns.map(({ name }) => `live.${quoteIdentifier(name)}`).join(', ')
  return `insert into ${staged} (${columnsOf(live)}, ${ROW}, ${ACTION}, ${TABLEOID}, ${CTID}, ${XMIN})
    select ${columns}, s.${ROW}, 'before', live.${TABLEOID}, live.${CTID}, live.${XMIN}
    from ${staged} as s join ${liveRows(live)} on ${equalKey(shared, 's', 'live')}
    where s.${ACTION} is distinct from 'before' and ${condition}`
}

/** Where the live row is that a staged row may be written over. */
function placeRows({ staged }: SeededTable): string {
  const place = [TABLEOID, CTID, XMIN].map((column) => `${column} = b.${column}`).join(', ')
  return `update ${staged} as s set ${place} from ${staged} as b
    where b.${ROW} = s.${ROW} and b.${ACTION} = 'before' and s.${ACTION} is distinct from 'before'`
}

/** The nearest decision for the row of an alias. */
function decisionFor(ofCase: string, alias = 'x'): string {
  return `(select d.decision from ${DECISIONS} as d
    where d.of_case = ${ofCase} and (d.table_no is null or d.table_no = ${alias}.table_no)
      and (d.key is null or d.key = ${alias}.template_key)
    order by d.key is null, d.table_no is null limit 1)`
}

function sameType(
  { oid }: Reference,
  given: { child: SeededTable; parent: SeededTable; name: string; other: string },
): string {
  const { child, parent, name, other } = given
  const typeOf = (table: SeededTable, column: string) =>
    table.live.columns.find((candidate) => candidate.name === column)?.type
  const value = `sp.${quoteIdentifier(other)}`
  if (oid !== null || typeOf(child, name) === typeOf(parent, other)) return value
  return `(json_populate_record(null::${child.staged}, json_build_object(${quoteLiteral(name)}, ${value}::text))).${quoteIdentifier(name)}`
}
