import { afterAll, beforeAll, expect, test } from 'vitest'
import { pushMigrations } from '../../src/local/migrations.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let pushed: TestDatabase
let applied: TestDatabase

beforeAll(async () => {
  pushed = await createTestDatabase({ template: 'hosted' })
  applied = await createTestDatabase({ template: 'plain' })
})
afterAll(async () => {
  await pushed.drop()
  await applied.drop()
})

/** Relations with columns, functions, policies and grants of everything that is not the platform's. */
const SCHEMA = `
  with ours as (
    select oid from pg_namespace where nspname in ('public', 'tenantkeep', 'tenantkeep_jobs')
  )
  select 'relation' as kind, c.oid::regclass::text as name,
    concat_ws(' ', c.relkind, pg_get_userbyid(c.relowner), c.relrowsecurity, c.relacl,
      (select json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
         pg_get_expr(d.adbin, d.adrelid)) order by a.attnum)
       from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
       where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)) as shape
  from pg_class c where relnamespace in (select oid from ours)
  union all
  select 'function', p.oid::regprocedure::text,
    concat_ws(' ', pg_get_userbyid(p.proowner), p.prosecdef, p.proacl, p.proconfig, md5(p.prosrc))
  from pg_proc p where pronamespace in (select oid from ours)
  union all
  select 'policy', polrelid::regclass || ' ' || polname,
    concat_ws(' ', polcmd, polpermissive, polroles::regrole[], pg_get_expr(polqual, polrelid),
      pg_get_expr(polwithcheck, polrelid))
  from pg_policy where polrelid in (select oid from pg_class where relnamespace in (select oid from ours))
  union all
  select 'constraint', conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid)
  from pg_constraint where connamespace in (select oid from ours)
  order by 1, 2, 3`

test('supabase db push gives the schema that the tests run on, and has nothing to do the second time', async () => {
  const first = await pushMigrations(pushed.adminUrl)
  const second = await pushMigrations(pushed.adminUrl)

  const [byPush, byFile] = await Promise.all([
    pushed.superuser.query(SCHEMA),
    applied.superuser.query(SCHEMA),
  ])
  expect(first).toContain('Applying migration')
  expect(second).toContain('Remote database is up to date')
  expect(byPush.rows.length).toBeGreaterThan(50)
  expect(byPush.rows).toEqual(byFile.rows)
})
