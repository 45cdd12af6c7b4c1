import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { hookTables } from '../../../src/core/tables/hook.ts'
import { readProtectionFaults } from '../../../src/core/tables/read-protection-faults.ts'
import { unhookTables } from '../../../src/core/tables/unhook.ts'
import { CRON, createTestStore, servicesOf, type TestStore } from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { ALPHA, installSmallHost, protectSmallHost } from '../../support/small-host.ts'

const TABLES = ['shop.tenants', 'shop.accounts', 'shop.events', 'shop.pockets', 'shop.entries']

let database: TestDatabase
let store: TestStore

beforeAll(async () => {
  store = await createTestStore()
})

beforeEach(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
  return () => database.drop()
})

afterAll(() => store?.remove())

describe('unhook', () => {
  it('takes every policy that stands in the way of a migration, and every grant', async () => {
    const before = await readProtection()
    const { unhooked } = await unhookTables(database.admin, { by: 'ann' })

    expect(unhooked.sort()).toEqual([...TABLES].sort())
    expect(await countOurs()).toEqual({ policies: 0, grants: 0 })
    // These the policies would have refused.
    await database.admin.query(
      `alter table shop.accounts alter column tenant_id type varchar(40);
       alter table shop.accounts alter column tenant_id type text`,
    )
    await hookTables(database.admin)
    expect(await readProtection()).toEqual(before)
  })

  it('leaves nothing open: the operator can’t read a row, of any tenant', async () => {
    await unhookTables(database.admin, { by: 'ann' })
    const reading = database.worker.withConnection(async (session) => {
      await session.query('begin')
      try {
        await session.query(
          `set local role tenantkeep_operator; select set_config('tenantkeep.tenant', 'alpha', true)`,
        )
        await session.query('select from shop.accounts')
      } finally {
        await session.query('rollback')
      }
    })
    await expect(reading).rejects.toThrow('permission denied')
  })

  it('makes backups fail with who did it, since when, and what puts it right', async () => {
    await unhookTables(database.admin, { by: 'ann', tables: ['accounts'] })
    const backup = takeBackup(servicesOf(database.worker, store.store), {
      tenantId: ALPHA,
      backupType: 'manual',
      actor: CRON,
    })
    await expect(backup).rejects.toMatchObject({
      code: 'confinement_broken',
      message: expect.stringMatching(
        /shop\.accounts \(unhooked since \d{4}-\d\d-\d\d \d\d:\d\d UTC by ann\)\. .*`tenantkeep hook`/,
      ),
    })
  })

  it('takes one table alone, and with it those whose condition looks at it', async () => {
    await database.admin.query(
      `create table shop.notes (id int primary key, of_pocket uuid);
       alter table shop.notes enable row level security`,
    )
    const condition =
      'of_pocket in (select p.id from shop.pockets p where p.tenant_id = {tenant}) and id > 0'
    await protectSmallHost(database, { custom: [`shop.notes=${condition}`] })

    expect(await unhookTables(database.admin, { by: 'ann', tables: ['shop.pockets'] })).toEqual({
      unhooked: ['shop.pockets', 'shop.notes'],
      alongWith: ['shop.notes'],
      already: [],
    })
    expect((await readProtectionFaults(database.worker)).map(({ table }) => table)).toEqual([
      'shop.notes',
      'shop.pockets',
    ])
  })

  it('goes on where it was stopped by a table in use', async () => {
    await database.superuser.withConnection(async (host) => {
      await host.query('begin; lock table shop.events in access share mode')
      await expect(unhookTables(database.admin, { by: 'ann' })).rejects.toMatchObject({
        code: 'table_locked',
        message: expect.stringContaining('shop.events'),
      })
      await host.query('rollback')
    })
    const report = await unhookTables(database.admin, { by: 'ann' })
    expect(report.already).toEqual(['shop.tenants', 'shop.accounts'])
    expect(report.unhooked).toEqual(['shop.events', 'shop.pockets', 'shop.entries'])
  })

  it('refuses a table that is not under protection', async () => {
    await expect(
      unhookTables(database.admin, { by: 'ann', tables: ['shop.nothing'] }),
    ).rejects.toMatchObject({ code: 'invalid_request' })
  })
})

describe('hook', () => {
  it('puts everything back as it was, and a backup is complete again', async () => {
    const before = await readProtection()
    await unhookTables(database.admin, { by: 'ann' })
    await database.admin.query('alter table shop.accounts add column colour text')

    expect(await hookTables(database.admin)).toEqual({
      hooked: TABLES,
      drifted: [],
      stillOff: [],
      unclassified: [],
    })
    expect(await readProtection()).toEqual(before)
    const { status } = await takeBackup(servicesOf(database.worker, store.store), {
      tenantId: ALPHA,
      backupType: 'manual',
      actor: CRON,
    })
    expect(status).toBe('complete')
  })

  it('puts back the tables that it is told, and says what is still off', async () => {
    await unhookTables(database.admin, { by: 'ann', tables: ['accounts', 'entries'] })
    expect(await hookTables(database.admin, { tables: ['shop.entries'] })).toMatchObject({
      hooked: ['shop.entries'],
      stillOff: ['shop.accounts'],
    })
  })

  it.each([
    [
      'the type of a tenant’s column',
      `alter table shop.pockets alter column tenant_id type varchar(40)`,
      'shop.pockets',
      'its column tenant_id is character varying and was text',
    ],
    [
      'the type of an owner’s key',
      `alter table shop.entries drop constraint entries_account_id_fkey;
       alter table shop.accounts alter column id drop identity;
       alter table shop.accounts alter column id type numeric`,
      'shop.entries',
      'the foreign key entries_account_id_fkey, along which its rows are owned, is gone',
    ],
    [
      'the name of a tenant’s column',
      'alter table shop.events rename column tenant_id to company_id',
      'shop.events',
      'its column tenant_id is gone and was text',
    ],
    [
      'a table’s row level security',
      'alter table shop.events disable row level security',
      'shop.events',
      'what would confine us is not what init left: row level security was switched off, or a function of ours was changed',
    ],
  ])('leaves off what has changed, and names it: %s', async (_, migration, table, reason) => {
    await unhookTables(database.admin, { by: 'ann' })
    await database.admin.query(migration)
    const { hooked, drifted } = await hookTables(database.admin)

    expect(drifted).toContainEqual({ table, reasons: expect.arrayContaining([reason]) })
    expect(hooked).not.toContain(table)
    expect((await readProtectionFaults(database.worker)).map((fault) => fault.table)).toContain(
      table,
    )
    expect(hooked.length).toBeGreaterThanOrEqual(TABLES.length - 2)
  })

  it('names tables that the migration brought and nobody has classified', async () => {
    await unhookTables(database.admin, { by: 'ann' })
    await database.admin.query('create table shop.reports (id int primary key)')
    expect(await hookTables(database.admin)).toMatchObject({ unclassified: ['shop.reports'] })
  })

  it('is not needed where init was run instead', async () => {
    await unhookTables(database.admin, { by: 'ann' })
    await protectSmallHost(database)
    expect(await readProtectionFaults(database.worker)).toEqual([])
    expect(await hookTables(database.admin)).toMatchObject({ hooked: [], stillOff: [] })
  })
})

/** Digest, policies and grants of every table, word by word. */
async function readProtection() {
  const { rows } = await database.admin.query(
    `select t.schema_name, t.table_name, p.digest = t.policy_digest as is_same, p.digest, c.relacl::text,
       array(select concat_ws('|', y.policyname, y.permissive, y.roles, y.cmd, y.qual, y.with_check)
             from pg_policies y where (y.schemaname, y.tablename) = (t.schema_name, t.table_name) order by 1)
     from tenantkeep.tenant_tables t
     join tenantkeep.table_protection() p using (schema_name, table_name)
     join pg_class c on c.oid = format('%I.%I', t.schema_name, t.table_name)::regclass
     order by 1, 2`,
  )
  return rows
}

async function countOurs() {
  const { rows } = await database.admin.query(
    `select (select count(*)::int from pg_policies where schemaname = 'shop'
              and policyname in ('zz_tenantkeep_allow', 'zz_tenantkeep_only')) as policies,
       (select count(*)::int from pg_class c, aclexplode(c.relacl) a
        where c.relnamespace = 'shop'::regnamespace and a.grantee = 'tenantkeep_operator'::regrole) as grants`,
  )
  return rows[0]
}
