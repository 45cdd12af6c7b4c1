import { randomUUID } from 'node:crypto'
import { rename, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import type { FindingCode } from '../../../src/core/doctor/finding.ts'
import { type DoctorParts, runDoctor } from '../../../src/core/doctor/run-doctor.ts'
import { BackupError } from '../../../src/core/errors.ts'
import { forgetTenant } from '../../../src/core/retention/forget-tenant.ts'
import { backupStamp, partPath } from '../../../src/core/store/object-path.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  TEST_KEYS,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { FaultyStore } from '../../support/faulty-store.ts'
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let files: TestStore
/** Of the right shape; the small host has no people. */
const MEMBERSHIP = {
  schema: 'shop',
  table: 'accounts',
  user: 'id',
  tenant: 'tenant_id',
  role: 'label',
  roles: ['owner'],
}
/** Puts back what the test did, the last first. */
let undo: (() => Promise<unknown>)[] = []

beforeAll(async () => {
  database = await createTestDatabase()
  files = await createTestStore()
  await installSmallHost(
    database,
    `create function shop.is_fine(text) returns boolean language sql immutable as 'select true';
     revoke all on function shop.is_fine(text) from public;`,
  )
  await database.admin.query(
    `insert into tenantkeep.settings (key, value) values ('membership', $1)`,
    [JSON.stringify(MEMBERSHIP)],
  )
})
afterEach(async () => {
  const steps = undo.reverse()
  undo = []
  for (const step of steps) await step()
})
afterAll(async () => {
  await database?.drop()
  await files?.remove()
})

/** Changes something as this login, for the length of one test. */
async function change(sql: string, back: string, as: 'admin' | 'superuser' = 'admin') {
  await database[as].query(sql)
  undo.push(() => database[as].query(back))
}

async function diagnose(parts: Partial<DoctorParts> = {}) {
  return runDoctor({
    worker: database.worker,
    admin: database.admin,
    store: files.store,
    signingKeys: TEST_KEYS,
    ...parts,
  })
}

/** The findings of one code. */
async function find(code: FindingCode, parts: Partial<DoctorParts> = {}) {
  const { findings } = await diagnose(parts)
  return findings.filter((finding) => finding.code === code)
}

test('a small host as init left it has no finding', async () => {
  const { findings, notChecked } = await diagnose()
  expect(findings).toEqual([])
  expect(notChecked).toEqual([])
})

describe('tables', () => {
  test('nobody classified', async () => {
    await change('create table shop.brand_new (id int)', 'drop table shop.brand_new')
    expect(await find('table_unclassified')).toMatchObject([
      {
        severity: 'error',
        subject: 'shop.brand_new',
        remedy: expect.stringMatching(/tenantkeep init/),
      },
    ])
  })

  test('that are gone', async () => {
    await change(
      'alter table shop.events rename to events_of_old',
      'alter table shop.events_of_old rename to events',
    )
    expect(await find('table_gone')).toMatchObject([{ subject: 'shop.events' }])
  })

  test('with row level security off, and the statement that puts it on', async () => {
    await change(
      'alter table shop.pockets disable row level security',
      'alter table shop.pockets enable row level security',
    )
    const [found] = await find('row_security_off')
    expect(found).toMatchObject({ severity: 'error', subject: 'shop.pockets' })
    await database.admin.query(found?.remedy ?? '')
    expect(await find('row_security_off')).toEqual([])
  })

  test('without our policies', async () => {
    await change(
      'alter policy zz_tenantkeep_only on shop.pockets rename to mine',
      'alter policy mine on shop.pockets rename to zz_tenantkeep_only',
    )
    expect(await find('policy_missing')).toMatchObject([
      { subject: 'shop.pockets', message: expect.stringMatching(/zz_tenantkeep_only/) },
    ])
  })

  test('without our grants, and the statements that give them', async () => {
    await change(
      'revoke insert, delete on shop.pockets from tenantkeep_operator; revoke usage on schema shop from tenantkeep_operator',
      'grant usage on schema shop to tenantkeep_operator; grant insert, delete on shop.pockets to tenantkeep_operator',
    )
    const found = await find('grant_missing')
    expect(found.find(({ subject }) => subject === 'shop.pockets')?.remedy).toBe(
      'grant usage on schema "shop" to tenantkeep_operator; grant insert, delete on "shop"."pockets" to tenantkeep_operator',
    )
    expect(await find('table_not_readable')).not.toEqual([])
    for (const { remedy } of found) await database.admin.query(remedy)
    expect(await find('grant_missing')).toEqual([])
  })

  test('whose policy was loosened', async () => {
    const { rows } = await database.admin.query<{ using: string }>(
      `select pg_get_expr(polqual, polrelid) as using from pg_policy
       where polname = 'zz_tenantkeep_allow' and polrelid = 'shop.pockets'::regclass`,
    )
    await change(
      'alter policy zz_tenantkeep_allow on shop.pockets using (true)',
      `alter policy zz_tenantkeep_allow on shop.pockets using (${rows[0]?.using})`,
    )
    expect(await find('protection_changed')).toMatchObject([{ subject: 'shop.pockets' }])
  })

  test('whose keys changed since init, and whose columns did', async () => {
    await change(
      'alter table shop.pockets add constraint named check (balance is not null); alter table shop.events add column colour text',
      'alter table shop.pockets drop constraint named; alter table shop.events drop column colour',
    )
    expect(await find('keys_changed')).toMatchObject([
      { severity: 'warning', subject: 'shop.pockets' },
    ])
    // A dropped column leaves a gap in the numbers of the others, so this table stays changed.
    expect(await find('shape_changed')).toMatchObject([
      { severity: 'notice', subject: 'shop.events', message: expect.stringMatching(/columns/) },
    ])
  })

  test('that changed since the last complete backup, by name', async () => {
    await takeBackup(servicesOf(database.worker, files.store), {
      tenantId: ALPHA,
      backupType: 'manual',
      actor: SYSTEM,
    })
    await change(
      'create table shop.brand_new (id int); alter table shop.accounts add constraint sane check (balance < 1e9)',
      'drop table shop.brand_new; alter table shop.accounts drop constraint sane',
    )
    expect(await find('schema_changed_since_backup')).toMatchObject([
      { message: expect.stringMatching(/new: shop\.brand_new; changed: shop\.accounts \(keys\)/) },
    ])
  })
})

describe('roles', () => {
  // Roles are of the whole cluster, and other test files use them: a role of our own is the subject.
  test('that everybody’s grants open to us', async () => {
    await change(
      'create table shop.open_house (id int); grant select on shop.open_house to public',
      'drop table shop.open_house',
    )
    expect(await find('rows_opened')).toMatchObject([
      {
        subject: 'shop.open_house',
        remedy: expect.stringMatching(/^revoke all on shop\.open_house from public/),
      },
    ])
  })

  test('with rights on tables that they do not need', async () => {
    await change(
      `create table shop.secrets (id int); create view shop.all_pockets as select * from shop.pockets;
       grant select on shop.secrets to tenantkeep_worker; grant select on shop.all_pockets to tenantkeep_operator;`,
      'drop view shop.all_pockets; drop table shop.secrets',
    )
    expect(await find('worker_rights')).toMatchObject([
      {
        subject: 'tenantkeep_worker',
        message: expect.stringMatching(/shop\.secrets/),
        remedy: 'revoke all on shop.secrets from tenantkeep_worker',
      },
    ])
    expect(await find('operator_rights')).toMatchObject([
      { remedy: 'revoke all on shop.all_pockets from tenantkeep_operator' },
    ])
  })

  test('that own something, or may make something', async () => {
    await change(
      `create table shop.mine (id int); grant create on schema shop to tenantkeep_worker;
       alter table shop.mine owner to tenantkeep_worker;`,
      'drop table shop.mine; revoke create on schema shop from tenantkeep_worker',
      'superuser',
    )
    const found = await find('worker_rights')
    expect(found.map(({ message }) => message)).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/owns table shop\.mine/),
        expect.stringMatching(/may make objects in the schema shop/),
      ]),
    )
  })

  test('without the right to make temporary tables', async () => {
    await change(
      `revoke temporary on database ${database.name} from public, tenantkeep_operator`,
      `grant temporary on database ${database.name} to public, tenantkeep_operator`,
    )
    expect(await find('temporary_missing')).toMatchObject([
      { remedy: `grant temporary on database "${database.name}" to tenantkeep_operator` },
    ])
  })
})

describe('policies and functions of the host', () => {
  test('that are restrictive and written to public, with the statement that re-scopes them', async () => {
    await change(
      `grant select on shop.pockets to authenticated;
       create policy "Only the morning" on shop.pockets as restrictive to public using (current_user = 'x')`,
      `drop policy "Only the morning" on shop.pockets; revoke select on shop.pockets from authenticated`,
    )
    const [found] = await find('policy_hides_rows')
    expect(found).toMatchObject({ severity: 'error', subject: 'shop.pockets' })
    expect(found?.remedy).toBe(
      'alter policy "Only the morning" on "shop"."pockets" to "authenticated"',
    )
    await database.admin.query(found?.remedy ?? '')
    expect(await find('policy_hides_rows')).toEqual([])
  })

  test('that need what the operator may not', async () => {
    await change(
      `create policy fine on shop.pockets to public using (shop.is_fine(tenant_id))`,
      'drop policy fine on shop.pockets',
    )
    expect(await find('function_not_executable')).toMatchObject([
      { subject: 'shop.pockets', message: expect.stringMatching(/the policy fine/) },
    ])
  })

  test('that writing calls and the operator may not, with the grant', async () => {
    await change(
      'alter table shop.pockets add constraint fine check (shop.is_fine(tenant_id))',
      'alter table shop.pockets drop constraint fine; revoke execute on function shop.is_fine(text) from tenantkeep_operator',
    )
    const [found] = await find('function_not_executable')
    expect(found?.remedy).toBe(
      'grant execute on function shop.is_fine(text) to tenantkeep_operator',
    )
    await database.admin.query(found?.remedy ?? '')
    expect(await find('function_not_executable')).toEqual([])
  })
})

describe('rows', () => {
  test('that lead to no tenant, more of them than init showed', async () => {
    await change(
      `alter table shop.pockets alter column tenant_id drop not null;
       insert into shop.pockets (tenant_id) values (null), (null)`,
      `delete from shop.pockets where tenant_id is null; alter table shop.pockets alter column tenant_id set not null`,
    )
    expect(await find('rows_without_tenant_new', { admin: null })).toMatchObject([
      {
        subject: 'shop.pockets',
        message: expect.stringMatching(/^2 of 42 rows .*\(2 have no value/),
      },
    ])
    await database.admin.query(
      'update tenantkeep.table_measurements set accepted_without_tenant = 2',
    )
    expect(await find('rows_without_tenant_new')).toEqual([])
    expect(await find('rows_without_tenant')).toMatchObject([{ severity: 'notice' }])
    await database.admin.query(
      'update tenantkeep.table_measurements set accepted_without_tenant = 0',
    )
  })

  test('that refer to another tenant’s', async () => {
    const column = `c${randomUUID().slice(0, 8)}`
    await change(
      `alter table shop.events add column ${column} uuid references shop.pockets (id);
       update shop.events set ${column} = (select id from shop.pockets where tenant_id = 'beta' limit 1)`,
      `alter table shop.events drop column ${column}`,
    )
    expect(await find('rows_of_two_tenants_new')).toMatchObject([
      { subject: 'shop.events', message: expect.stringMatching(/^9 rows refer/) },
    ])
  })

  test('that could not be counted in time, with the date of the last count', async () => {
    const found = await find('rows_not_measured', { budget: { perTable: 5_000, inAll: 0 } })
    expect(found).toHaveLength(5)
    expect(found[0]).toMatchObject({
      severity: 'notice',
      message: expect.stringMatching(/last on \d{4}-\d\d-\d\dT/),
    })
  })

  test('of large tables without an index on their path, with the index', async () => {
    await change(
      `insert into shop.pockets (tenant_id) select 'beta' from generate_series(1, 20000); analyze shop.pockets`,
      `delete from shop.pockets where balance = 0; analyze shop.pockets`,
    )
    const [found] = await find('index_missing')
    expect(found).toMatchObject({
      subject: 'shop.pockets',
      remedy: 'create index concurrently on "shop"."pockets" ("tenant_id")',
    })
    await database.admin.query(found?.remedy ?? '')
    expect(await find('index_missing')).toEqual([])
    await database.admin.query('drop index shop.pockets_tenant_id_idx')
  })
})

describe('what acts in the middle of a restore', () => {
  test('triggers and rules that are enabled always, and rules as such', async () => {
    await change(
      `create function shop.noop() returns trigger language plpgsql as 'begin return new; end';
       create trigger watch after insert on shop.pockets for each row execute function shop.noop();
       create trigger "Quiet" after insert on shop.pockets for each row execute function shop.noop();
       alter table shop.pockets enable always trigger watch;
       create rule shout as on delete to shop.accounts do also select 1;
       create rule whisper as on delete to shop.entries do also select 1;
       alter table shop.accounts enable always rule shout;`,
      `drop rule shout on shop.accounts; drop rule whisper on shop.entries;
       drop trigger watch on shop.pockets; drop trigger "Quiet" on shop.pockets; drop function shop.noop();`,
    )
    expect(await find('trigger_always')).toMatchObject([
      { severity: 'warning', remedy: 'alter table "shop"."pockets" enable trigger "watch"' },
    ])
    expect(await find('rule_always')).toMatchObject([{ subject: 'shop.accounts' }])
    expect(await find('rule_present')).toMatchObject([{ subject: 'shop.entries' }])
  })

  test('because triggers can’t be silenced', async () => {
    await change(
      'revoke execute on function tenantkeep.silence_triggers() from tenantkeep_worker',
      'grant execute on function tenantkeep.silence_triggers() to tenantkeep_worker',
    )
    expect(await find('triggers_not_silenced')).toMatchObject([
      {
        remedy: expect.stringMatching(
          /^grant set on parameter session_replication_role to postgres/,
        ),
      },
    ])
  })
})

test('columns whose values have no exact text', async () => {
  await change(
    `create type shop.page as (title text, body xml);
     alter table shop.events add column pages shop.page[], add column called regproc;`,
    'alter table shop.events drop column pages, drop column called; drop type shop.page',
  )
  const found = await find('value_not_exact')
  expect(found.map(({ subject, message }) => [subject, message.split(' ')[0]])).toEqual([
    ['shop.events', 'called'],
    ['shop.events', 'pages'],
  ])
})

describe('settings, environment, store and clocks', () => {
  const set = (key: string, value: unknown) =>
    change(
      `insert into tenantkeep.settings (key, value) values ('${key}', '${JSON.stringify(value)}')`,
      `delete from tenantkeep.settings where key = '${key}'`,
    )

  test('a membership that names columns which are not there', async () => {
    await change(
      `delete from tenantkeep.settings where key = 'membership'`,
      `insert into tenantkeep.settings (key, value) values ('membership', '${JSON.stringify(MEMBERSHIP)}')`,
    )
    expect(await find('membership_missing')).toMatchObject([{ severity: 'notice' }])
    await set('membership', { ...MEMBERSHIP, role: 'role' })
    expect(await find('setting_wrong')).toMatchObject([
      {
        subject: 'membership',
        message: expect.stringMatching(/shop\.accounts has no column role/),
      },
    ])
  })

  test('an inactive_predicate that Postgres can’t read, and a number out of range', async () => {
    await set('inactive_predicate', 'r.is_gone')
    await set('gzip_level', 99)
    const found = await find('setting_wrong')
    expect(found.map(({ subject }) => subject).sort()).toEqual([
      'inactive_predicate',
      'tenantkeep.settings',
    ])
  })

  test('a missing signing key and a missing store', async () => {
    const missing = (name: string) => new BackupError('not_configured', `${name} is not set.`)
    const { findings, notChecked } = await diagnose({
      store: missing('BACKUP_STORE'),
      signingKeys: missing('BACKUP_SIGNING_KEY'),
    })
    expect(
      findings.filter(({ code }) => code === 'not_configured').map(({ subject }) => subject),
    ).toEqual(['BACKUP_STORE', 'BACKUP_SIGNING_KEY'])
    expect(notChecked).toContainEqual({ check: 'store', reason: 'No store is configured.' })
  })

  test('a store that can’t be used', async () => {
    const faulty = new FaultyStore(files.store, { call: 1, method: 'check', how: 'error' })
    expect(await find('store_unusable', { store: faulty })).toMatchObject([
      { severity: 'error', subject: files.store.url },
    ])
  })

  test('clocks that differ: this machine’s, the store’s', async () => {
    const ahead = () => Date.now() + 3_600_000
    expect(await find('clock_differs', { now: ahead })).toMatchObject([
      {
        subject: 'this machine',
        message: expect.stringMatching(/3600 seconds behind|3599 seconds behind/),
      },
    ])
    const { backup } = await takeBackup(servicesOf(database.worker, files.store), {
      tenantId: ALPHA,
      backupType: 'manual',
      actor: SYSTEM,
    })
    const path = join(files.folder, backup.summaryPath ?? '')
    await utimes(path, new Date(), new Date(Date.now() - 600_000))
    expect(await find('clock_differs')).toMatchObject([
      {
        subject: files.store.url,
        message: expect.stringMatching(/seconds before the backup was taken/),
      },
    ])
    await utimes(path, new Date(), new Date())
  })
})

describe('objects and rows that do not belong together', () => {
  const old = new Date(Date.now() - 2 * 86_400_000)

  /** An object of a table, as a backup of that time would have named it; as old as it says where it is dated. */
  async function leave(tenantId: string, at: Date): Promise<string> {
    const stamp = backupStamp(at, randomUUID())
    const path = partPath(tenantId, stamp, { schema: 'shop', name: 'events' }, 1)
    await files.store.put(path, Buffer.from('left behind'), 'application/gzip')
    await utimes(join(files.folder, path), at, at)
    undo.push(() => files.store.remove([path]))
    return path
  }

  const take = async (tenantId: string) =>
    (
      await takeBackup(servicesOf(database.worker, files.store), {
        ...{ tenantId, backupType: 'manual', actor: SYSTEM },
      })
    ).backup

  test('objects that no backup names, once they are older than a day, and only where one asks', async () => {
    await take(ALPHA)
    await leave(ALPHA, old)
    await leave(ALPHA, new Date())

    expect(await find('objects_orphaned')).toEqual([])
    expect(await find('objects_orphaned', { withOrphans: true })).toEqual([
      {
        code: 'objects_orphaned',
        severity: 'warning',
        subject: files.store.url,
        message: expect.stringMatching(/^1 objects \(11 bytes\) of tenant alpha /),
        remedy: 'tenantkeep prune --orphans --tenant alpha',
      },
    ])
  })

  test('folders of which nobody can tell: of a tenant that the catalog does not know, without a summary', async () => {
    await leave('nobody', old)
    const backup = await take(ALPHA)
    await leave(ALPHA, old)
    const summary = join(files.folder, backup.summaryPath ?? '')
    await rename(summary, `${summary}.aside`)
    undo.push(() => rename(`${summary}.aside`, summary))

    const findings = await find('objects_unclear', { withOrphans: true })

    expect(findings.map(({ subject }) => subject)).toEqual([
      `${files.store.url} tenant-backups/alpha/`,
      `${files.store.url} tenant-backups/nobody/`,
    ])
    expect(findings[1]?.message).toMatch(/rebuild-catalog/)
    expect(await find('objects_orphaned', { withOrphans: true })).toEqual([])
  })

  test('backups of a forgotten tenant that came back with an older copy of the catalog', async () => {
    await take(BETA)
    await database.superuser.query(
      'create table public.older as select * from public.tenant_backups',
    )
    await forgetTenant(servicesOf(database.worker, files.store), {
      tenantId: BETA,
      confirmName: 'Beta Rentals',
      isDryRun: false,
      actor: SYSTEM,
    })
    expect(await find('forgotten_returned')).toEqual([])
    await database.superuser.query(
      `truncate public.tenant_backups, tenantkeep.forgotten_tenants cascade;
       insert into public.tenant_backups select * from public.older; drop table public.older`,
    )

    expect(await find('forgotten_returned')).toMatchObject([
      {
        subject: BETA,
        message: expect.stringMatching(/ 1 backups of this tenant, which was forgotten/),
        remedy: 'tenantkeep prune --tenant beta',
      },
    ])
    await database.superuser.query(
      `delete from public.tenant_backups where organization_id = 'beta'`,
    )
  })
})

describe('the schema', () => {
  test('of an older version stops the rest, which is said', async () => {
    await change(
      `create table tenantkeep.later as select * from tenantkeep.migrations where version > '20261121090300';
       delete from tenantkeep.migrations where version > '20261121090300'`,
      `insert into tenantkeep.migrations select * from tenantkeep.later; drop table tenantkeep.later`,
    )
    const { findings, notChecked } = await diagnose()
    expect(findings).toMatchObject([{ code: 'schema_outdated', remedy: 'tenantkeep init' }])
    expect(notChecked).toHaveLength(1)
  })

  test('that is not there, or has no table under protection', async () => {
    const empty = await createTestDatabase({ template: 'hosted' })
    undo.push(() => empty.drop())
    const plain = await createTestDatabase()
    undo.push(() => plain.drop())
    expect(await find('schema_missing', { worker: null, admin: empty.admin })).toHaveLength(1)
    expect(await find('nothing_protected', { worker: plain.worker, admin: null })).toHaveLength(1)
  })
})

test('files in Storage are named, with their number where the owner may count', async () => {
  await change(
    `insert into storage.buckets (id, name) values ('photos', 'photos');
     insert into storage.objects (bucket_id, name) values ('photos', 'a'), ('photos', 'b');`,
    `delete from storage.objects; delete from storage.buckets`,
    'superuser',
  )
  expect(await find('files_not_covered')).toMatchObject([
    { severity: 'notice', message: expect.stringMatching(/^2 files in Supabase Storage/) },
  ])
  expect(await find('files_not_covered', { admin: null })).toMatchObject([
    { message: expect.stringMatching(/^Files in Supabase Storage/) },
  ])
})
