import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { readFences, readSection, readText } from './read-docs.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase({ template: 'demo' })
  await database.admin.query(A_MONTH)
})
afterAll(() => database?.drop())

const operations = readText('docs/operations.md')

/** Something of everything that people ask about. */
const A_MONTH = `
  with tenant as (
    select tenant_id, tenant_name, row_number() over (order by tenant_id) as n from tenantkeep.list_tenants()
  ), backup as (
    insert into public.tenant_backups
      (organization_id, organization_name, backup_type, status, created_at, taken_at, completed_at, verified_at,
       backup_date, store_url, object_stamp, summary_path, summary_sha256, format_version, total_tables,
       total_records, raw_size, total_size, uploaded_size, actor_kind, actor_label, table_rows,
       pinned_at, pinned_by, pinned_by_kind, pin_reason, pruned_at, prune_reason, gaps)
    select t.tenant_id, t.tenant_name, 'daily_tenant', case when d.days = 20 then 'pruned' else 'complete' end,
      d.at, d.at, d.at, d.at, (d.at at time zone 'utc')::date, 'file:///x', d.days::text, 'x', 'x', 1, 2,
      100, 1000, 100, 50, 'cron', 'cron', jsonb_build_object('customers', 100 - d.days, 'rentals', 7),
      case when d.days = 8 then now() end, case when d.days = 8 then 'me' end,
      case when d.days = 8 then 'operator' end, case when d.days = 8 then 'a dispute' end,
      case when d.days = 20 then now() end, case when d.days = 20 then 'older than 30 days' end, '{public.new}'
    from tenant t
    cross join lateral (select n as days, now() - n * interval '1 day' as at from unnest(array[1, 8, 20]) n) d
    returning *
  ), copy as (
    insert into tenantkeep.backup_copies (backup_id, store_url, status, attempts, error_code, error_message)
    select id, 's3://x', 'failed', 2, 'store_unavailable', 'Away.' from backup where object_stamp = '1'
  ), drill as (
    insert into tenantkeep.drills (id, organization_id, backup_id, in_rotation, status, finished_at, rows, bytes, duration_ms)
    select gen_random_uuid(), organization_id, id, true, 'passed', now(), 1, 1, 1 from backup where object_stamp = '1'
  ), alert as (
    insert into tenantkeep.alerts (key, code, severity, tenant_id, message, remedy)
    select 'backup_late:' || tenant_id, 'backup_late', 'error', tenant_id, 'x', 'x' from tenant
  ), run as (
    insert into tenantkeep.runs (kind, actor_kind, actor_label, tenant_ids) values ('prune', 'cron', 'cron', '{}')
  )
  insert into public.backup_logs
    (backup_type, status, completed_at, organization_id, actor_kind, actor_label, error_code, error_message, details)
  select k.type, k.status, now(), t.tenant_id, 'cron', 'cron', k.code, k.code, k.details
  from tenant t, (values
    ('daily_tenant', 'complete', null, '{}'::jsonb), ('daily_tenant', 'failed', 'rows_hidden', '{}'),
    ('restore', 'failed', 'restore_blocked', '{}'), ('prune', 'complete', null, '{"backups": 1, "bytes": 5}'),
    ('run', 'complete', null, '{}')
  ) k (type, status, code, details);
  insert into tenantkeep_jobs.queue (name, policy, retry_limit, retry_delay, retry_backoff, expire_seconds,
    retention_seconds, deletion_seconds, partition, table_name)
  values ('tenant-backup', 'standard', 1, 1, false, 60, 60, 60, false, 'job_common');
  insert into tenantkeep_jobs.job (name, data) values ('tenant-backup', '{}');`

// «sql only-hosted» needs extensions that only Supabase has.
const examplesOf = (markdown: string) =>
  readFences(markdown)
    .filter(({ info }) => info === 'sql')
    .map(({ text }) => [text.split('\n')[0] ?? '', text] as const)

test('operations.md has examples', () => {
  expect(examplesOf(operations).length).toBeGreaterThan(5)
})

describe('queries', () => {
  const queries = examplesOf(readSection(operations, 'Queries')).flatMap(([, text]) =>
    text.split(/;\n/).filter((sql) => sql.trim() !== ''),
  )

  test.each(queries.map((sql) => [sql.trim().split('\n')[0], sql]))('%s', async (_, sql) => {
    const { rows } = await database.admin.query(sql)

    expect(rows.length).toBeGreaterThan(0)
  })

  test('the one about growth says by how much', async () => {
    const sql = queries.find((text) => text.includes('Which tables grew')) ?? ''

    const { rows } = await database.admin.query(sql)

    expect(rows[0]).toMatchObject({ table_name: 'customers', rows_before: '92', rows_now: '99' })
    expect(rows.filter((row) => row.table_name === 'rentals')).toEqual([])
  })
})

test.each(examplesOf(operations))(
  'the example runs as the owner of the database: %s',
  async (_, sql) => {
    await expect(database.admin.query(sql)).resolves.toBeDefined()
  },
)
