import type { Connection } from '../../../../src/core/database/database.ts'
import { ACTION, BOOKKEEPING, ROW } from '../../../../src/core/restore/staged-table.ts'
import type { TestDatabase } from '../../../support/database.ts'

/** A restore's session as the definer functions meet it: in one transaction, which is rolled back. */
export interface Staging {
  /** Makes an empty staged table as the engine does: `pg_temp.<name>` with the columns of a live table. */
  create(name: string, live: string): Promise<void>
  /** Adds a row that the backup has; `columns` are values by name, as SQL. */
  add(name: string, row: number, action: string, columns: Record<string, string>): Promise<void>
  /** Adds live rows of this tenant, as they are, with their places. */
  addLive(name: string, row: number, action: string, live: string, where: string): Promise<void>
  /** Runs SQL as the operator, confined to the tenant. */
  asOperator<Row = Record<string, unknown>>(sql: string): Promise<Row[]>
  /** Runs SQL as the worker, whose calls of the definer functions these are; numbers are text. */
  asWorker<Row = Record<string, unknown>>(sql: string): Promise<Row[]>
}

/** Lends the session of a restore of one tenant. */
export async function withStaging<T>(
  database: TestDatabase,
  tenant: string,
  use: (staging: Staging) => Promise<T>,
  options: { isSilent?: boolean; isolation?: string } = {},
): Promise<T> {
  return database.worker.withConnection(async (session) => {
    await session.query(`begin isolation level ${options.isolation ?? 'read committed'}`)
    if (options.isSilent === true) await session.query('select tenantkeep.silence_triggers()')
    await session.query(`select set_config('tenantkeep.tenant', $1, true)`, [tenant])
    try {
      return await use(stagingOf(session))
    } finally {
      await session.query('rollback')
    }
  })
}

function stagingOf(session: Connection): Staging {
  const run = async <Row>(role: string, sql: string): Promise<Row[]> => {
    await session.query(role)
    const { rows } = await session.query<Row>(sql)
    return rows
  }
  return {
    async add(name, row, action, columns) {
      const names = Object.keys(columns).map((column) => `, ${column}`)
      const values = Object.values(columns).map((value) => `, ${value}`)
      await run(
        'set local role tenantkeep_operator',
        `insert into pg_temp.${name} (${ROW}, ${ACTION}${names.join('')})
         values (${row}, '${action}'${values.join('')})`,
      )
    },
    async addLive(name, row, action, live, where) {
      await run(
        'set local role tenantkeep_operator',
        `insert into pg_temp.${name}
         select live.*, ${row}, '${action}', live.tableoid, live.ctid, live.xmin
         from ${live} live where ${where}`,
      )
    },
    asOperator: (sql) => run('set local role tenantkeep_operator', sql),
    asWorker: (sql) => run('reset role', sql),
    async create(name, live) {
      await run('set local role tenantkeep_operator', createStaged(name, live))
    },
  }
}

/** The engine's own way to live types, domains as their base types (src/core/restore/stage-table.ts). */
function createStaged(name: string, live: string): string {
  return `do $$
    declare
      columns text := (
        select string_agg(format('coalesce(live.%I, null) as %1$I', a.attname), ', ' order by a.attnum)
        from pg_attribute a where a.attrelid = '${live}'::regclass and a.attnum > 0 and not a.attisdropped
      );
    begin
      execute format('create temp table ${name} as select %s, null::bigint as "tenantkeep:row" from ${live} live with no data', columns);
      alter table pg_temp.${name} drop column "tenantkeep:row";
      alter table pg_temp.${name} ${BOOKKEEPING.replace(/(^|, )/g, '$1add ')};
      grant select on pg_temp.${name} to postgres;
    end $$`
}

/** A table or index of the schema shop. */
export function relationOf(name: string): string {
  return `(select c.oid::regclass from pg_class c where c.relnamespace = to_regnamespace('shop') and c.relname = '${name}')`
}

/** A constraint of the schema shop, not one that a partition inherits. */
export function constraintOf(name: string): string {
  return `(select k.oid from pg_constraint k where k.connamespace = to_regnamespace('shop') and k.conname = '${name}' and k.conparentid = 0)`
}

/** The staged table, as the engine passes it. */
export function staged(name: string): string {
  return `'pg_temp.${name}'::regclass`
}
