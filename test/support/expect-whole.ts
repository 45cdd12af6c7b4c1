import { expect } from 'vitest'
import type { TestDatabase } from './database.ts'

/**
 * For every foreign key, and every unique or exclusion constraint that can be deferred (the two that Postgres
 * checks by triggers, which a restore silences), a query for the rows that break it, made from the catalog.
 */
const CHECKS = `
  select k.conname as name, format(
    'select c.ctid::text as place from %1$s c where %2$s and not exists (select from %3$s p where %4$s)',
    k.conrelid::regclass,
    format(case when k.confmatchtype = 'f' then 'num_nonnulls(%s) > 0' else 'num_nulls(%s) = 0' end,
      string_agg(format('c.%I', c.attname), ', ')),
    k.confrelid::regclass,
    string_agg(format('p.%I = c.%I', p.attname, c.attname), ' and ')) as query
  from pg_constraint k
  cross join unnest(k.conkey, k.confkey) as u (child, parent)
  join pg_attribute c on c.attrelid = k.conrelid and c.attnum = u.child
  join pg_attribute p on p.attrelid = k.confrelid and p.attnum = u.parent
  where k.contype = 'f' and k.conparentid = 0 and k.convalidated
  group by k.oid, k.conname, k.conrelid, k.confrelid, k.confmatchtype
  union all
  select k.conname, format(
    'select a.ctid::text as place from %1$s a where exists (
       select from %1$s b where (b.tableoid, b.ctid) <> (a.tableoid, a.ctid) and %2$s)',
    k.conrelid::regclass,
    string_agg(format('a.%1$I operator(%2$s) b.%1$I', c.attname,
      coalesce((select format('%I.%s', n.nspname, o.oprname) from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
                where o.oid = k.conexclop[u.position]), 'pg_catalog.=')), ' and '))
  from pg_constraint k
  cross join unnest(k.conkey) with ordinality as u (attnum, position)
  join pg_attribute c on c.attrelid = k.conrelid and c.attnum = u.attnum
  where k.contype in ('p', 'u', 'x') and k.condeferrable and k.conparentid = 0
  group by k.oid, k.conname, k.conrelid`

/** Fails where any reference of any row in the database leads nowhere, or a value is held twice. */
export async function expectWhole(database: TestDatabase, message = ''): Promise<void> {
  const { superuser } = database
  const { rows: checks } = await superuser.query<{ name: string; query: string }>(CHECKS)
  expect(checks.length, 'constraints that could be broken').toBeGreaterThan(0)
  const broken: string[] = []
  for (const { name, query } of checks) {
    const { rowCount } = await superuser.query(query)
    if (rowCount > 0) broken.push(`${name}: ${rowCount} rows`)
  }
  expect(broken, message).toEqual([])
}

/**
 * Fails where our sessions still hold a lock of any kind, have a transaction open, or where temp tables are
 * left. A session that was cut or given up ends a moment later, so this waits for it.
 */
export async function expectQuiet(database: TestDatabase, message = ''): Promise<void> {
  const left = async () => {
    const { rows } = await database.superuser.query<{ left: string }>(`
      select 'lock: ' || l.locktype || ' ' || l.mode || ' ' || coalesce(l.relation::regclass::text, '') as left
      from pg_locks l join pg_stat_activity a on a.pid = l.pid
      where a.datname = current_database() and a.usename = 'tenantkeep_worker'
      union all
      select 'transaction: ' || a.state from pg_stat_activity a
      where a.datname = current_database() and a.usename = 'tenantkeep_worker' and a.state <> 'idle'
      union all
      select 'temp: ' || c.relname from pg_class c
      where c.relpersistence = 't' and c.relkind in ('r', 'v', 'S')
      order by 1`)
    return rows.map((row) => row.left)
  }
  await expect.poll(left, { timeout: 20_000, interval: 20, message }).toEqual([])
}
