import { readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import type { Queryable } from '../../src/core/database/database.ts'
import { requireSchema } from '../../src/core/database/require-schema.ts'
import { initialiseProtection } from '../../src/core/tables/initialise-protection.ts'
import { installSchema } from '../../src/core/tables/install-schema.ts'
import { setWorkerPassword, workerUrl } from '../../src/core/tables/set-worker-password.ts'
import { runScript } from '../../src/local/hosted-shape.ts'
import { readMigrations } from '../../src/local/migrations.ts'
import { createTestDatabase, type TestDatabase, withDatabase } from '../support/database.ts'
import { startTestCluster, urlOf } from '../support/test-cluster.ts'
import { listSchema } from './list-schema.ts'

const A = 'aaaaaaaa-0000-4000-8000-000000000000'
const B = 'bbbbbbbb-0000-4000-8000-000000000000'
const OWNER = '00000000-0000-4000-8000-000000000001'
const ADMIN_OF_BOTH = '00000000-0000-4000-8000-000000000002'
const MEMBER = '00000000-0000-4000-8000-000000000003'

const HOST = `
  create table orgs (id uuid primary key, name text);
  create table profiles (id uuid not null, organization_id uuid not null references orgs, role text not null,
    primary key (id, organization_id));
  alter table orgs enable row level security;
  alter table profiles enable row level security;
  insert into orgs values ('${A}', 'Anna'), ('${B}', 'Bert');
  insert into profiles values ('${OWNER}', '${A}', 'owner'), ('${ADMIN_OF_BOTH}', '${A}', 'admin'),
    ('${ADMIN_OF_BOTH}', '${B}', 'admin'), ('${MEMBER}', '${A}', 'member');`
const JOURNAL = `
  insert into public.tenant_backups (organization_id, backup_type, store_url, object_stamp, actor_kind, actor_label)
  select id, 'manual', 'file:///x', 'x', 'system', 'test' from (values ('${A}'), ('${B}')) t (id);
  insert into public.backup_logs (organization_id, backup_type, status, actor_kind, actor_label, error_code, error_message)
  select id, type, status, 'system', 'test', 'x', 'x'
  from (values ('${A}', 'daily_tenant', 'failed'), ('${B}', 'restore', 'running'), (null, 'run', 'complete')) t (id, type, status);`

const OPTIONS = { tenantTable: 'orgs', tenantColumns: ['organization_id'] }

/** The whole schema in words. */
const GOLDEN = new URL('schema.txt', import.meta.url)

let database: TestDatabase

beforeAll(async () => {
  database = await createTestDatabase()
  await runScript(database.adminUrl, HOST + JOURNAL)
  await initialiseProtection(database.admin, OPTIONS)
})

afterAll(() => database?.drop())

/** Runs in a transaction as a role, with a user's token; rolled back. */
async function as<T>(
  role: string,
  token: Record<string, string> | null,
  use: (session: Queryable) => Promise<T>,
): Promise<T> {
  return database.admin.withConnection(async (session) => {
    await session.query('begin')
    try {
      await session.query(`set local role ${role}`)
      if (token !== null) {
        await session.query(`select set_config('request.jwt.claims', $1, true)`, [
          JSON.stringify(token),
        ])
      }
      return await use(session)
    } finally {
      await session.query('rollback')
    }
  })
}

async function tenantsSeenBy(user: string, table: string): Promise<string[]> {
  return as('authenticated', { sub: user, role: 'authenticated' }, async (session) => {
    const { rows } = await session.query<{ id: string }>(
      `select organization_id as id from public.${table} order by 1`,
    )
    return rows.map((row) => row.id)
  })
}

describe('the schema that the migrations make', () => {
  it('is the one in schema.txt; UPDATE_GOLDEN=1 writes it anew', async () => {
    await withDatabase(async (fresh) => {
      const listing = await listSchema(fresh.superuser)
      if (process.env.UPDATE_GOLDEN === '1') await writeFile(GOLDEN, listing)
      expect(listing).toBe(await readFile(GOLDEN, 'utf8'))
    })
  })

  it('has row level security on every table', async () => {
    const { rows } = await database.admin.query(
      `select c.oid::regclass::text as name from pg_class c
       where c.relkind in ('r', 'p') and not c.relispartition and not c.relrowsecurity
         and (c.relnamespace in ('tenantkeep'::regnamespace, 'tenantkeep_jobs'::regnamespace)
           or c.oid in ('public.tenant_backups'::regclass, 'public.backup_logs'::regclass))`,
    )
    expect(rows).toEqual([])
  })

  it('has a comment on every table and function of ours', async () => {
    const { rows } = await database.admin.query(
      `select c.oid::regclass::text as name from pg_class c
       where c.relkind = 'r' and obj_description(c.oid, 'pg_class') is null
         and (c.relnamespace = 'tenantkeep'::regnamespace
           or c.oid in ('public.tenant_backups'::regclass, 'public.backup_logs'::regclass))
       union all
       select p.oid::regprocedure::text from pg_proc p
       where p.pronamespace = 'tenantkeep'::regnamespace and p.proname !~ '^keys_[0-9]+$'
         and obj_description(p.oid, 'pg_proc') is null`,
    )
    expect(rows).toEqual([])
  })

  it('fixes the search path of every definer function, pg_temp last, and says why it is one', async () => {
    const { rows } = await database.admin.query<Record<string, unknown>>(
      `select p.oid::regprocedure::text as name, p.proconfig[1] as path,
         p.proname ~ '^keys_[0-9]+$' or obj_description(p.oid, 'pg_proc') ~ 'Definer,? ' as "saysWhy",
         not exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0)
           and not has_function_privilege('anon', p.oid, 'execute')
           and (p.proname in ('administered_tenants', 'is_operator') or not has_function_privilege('authenticated', p.oid, 'execute'))
           as "isClosed"
       from pg_proc p
       join pg_namespace n on n.oid = p.pronamespace
       where p.prosecdef and n.nspname in ('tenantkeep', 'tenantkeep_jobs')
       order by 1`,
    )
    expect(rows.length).toBeGreaterThan(5)
    expect(rows).toEqual(
      rows.map(({ name }) => ({
        name,
        path: 'search_path=pg_catalog, pg_temp',
        saysWhy: true,
        isClosed: true,
      })),
    )
  })

  it('has roles that can do no more than they must', async () => {
    const { rows } = await database.admin.query(
      `select rolname as name, rolcanlogin as login, rolbypassrls as bypass, rolinherit as inherit,
         rolsuper or rolcreaterole or rolcreatedb or rolreplication as more
       from pg_roles where rolname like 'tenantkeep%' order by 1`,
    )
    expect(rows).toEqual([
      { name: 'tenantkeep_operator', login: false, bypass: false, inherit: true, more: false },
      { name: 'tenantkeep_scope', login: false, bypass: true, inherit: true, more: false },
      { name: 'tenantkeep_worker', login: true, bypass: false, inherit: false, more: false },
    ])
  })

  it('has roles that own nothing, and a scope role that may do nothing', async () => {
    const { rows } = await database.superuser.query(
      `select r.rolname, s.deptype, s.classid::regclass::text, s.objid
       from pg_shdepend s join pg_roles r on r.oid = s.refobjid
       where s.dbid = (select oid from pg_database where datname = current_database())
         and r.rolname like 'tenantkeep%' and (s.deptype = 'o' or (s.deptype = 'a' and r.rolname = 'tenantkeep_scope'))`,
    )
    expect(rows).toEqual([])
  })
})

describe('seed queries', () => {
  it.each([
    `SELECT * FROM backup_logs 
WHERE backup_type = 'daily_tenant'
ORDER BY created_at DESC 
LIMIT 10;`,
    `SELECT * FROM backup_logs 
WHERE status = 'failed' 
ORDER BY created_at DESC;`,
    `SELECT * FROM backup_logs 
WHERE backup_type = 'restore'
ORDER BY created_at DESC;`,
  ])('run as printed: %s', async (sql) => {
    const { rows } = await database.admin.query(sql)
    expect(rows).toHaveLength(1)
  })
})

describe.each(['tenant_backups', 'backup_logs'])('%s', (table) => {
  it('shows owners and admins the rows of their own tenants', async () => {
    expect(await tenantsSeenBy(OWNER, table)).toEqual([A])
    expect(await tenantsSeenBy(ADMIN_OF_BOTH, table)).toEqual([A, B])
  })

  it('shows a listed operator every row', async () => {
    await database.admin.query(
      `insert into tenantkeep.operators (user_id, label) values ('operator', 'operator')`,
    )

    const seen = await tenantsSeenBy('operator', table)

    await database.admin.query('delete from tenantkeep.operators')
    expect(seen.slice(0, 2)).toEqual([A, B])
  })

  it('shows members, strangers and ids of other login providers nothing', async () => {
    expect(await tenantsSeenBy(MEMBER, table)).toEqual([])
    expect(await tenantsSeenBy('00000000-0000-4000-8000-00000000dead', table)).toEqual([])
    expect(await tenantsSeenBy('user_2abcDEF', table)).toEqual([])
    expect(await tenantsSeenBy('', table)).toEqual([])
  })

  it('refuses who is not signed in, and the service role', async () => {
    for (const role of ['anon', 'service_role']) {
      await expect(
        as(role, null, (session) => session.query(`select from public.${table}`)),
      ).rejects.toThrow(/permission denied/)
    }
  })

  it('is written by nobody but the worker, and emptied by nobody', async () => {
    for (const role of ['anon', 'authenticated', 'service_role', 'tenantkeep_operator']) {
      for (const sql of [
        `insert into public.${table} default values`,
        `update public.${table} set organization_id = organization_id`,
        `delete from public.${table}`,
        `truncate public.${table}`,
      ]) {
        await expect(as(role, { sub: OWNER }, (session) => session.query(sql))).rejects.toThrow(
          /permission denied/,
        )
      }
    }
    for (const sql of [`delete from public.${table}`, `truncate public.${table}`]) {
      await expect(database.worker.query(sql)).rejects.toThrow(/permission denied/)
    }
    const { rowCount } = await database.worker.query(
      `update public.${table} set organization_id = organization_id`,
    )
    expect(rowCount).toBeGreaterThan(0)
  })
})

describe('the worker', () => {
  it.each([
    ['read a host table', 'select from public.orgs'],
    ['write a host table', 'delete from public.orgs'],
    ['write the registry', `update tenantkeep.tenant_tables set class = 'shared'`],
    ['write a setting', `insert into tenantkeep.settings values ('gzip_level', '1')`],
    ['make itself an operator', `insert into tenantkeep.operators values ('x', 'x')`],
    ['make tables in our schema', 'create table tenantkeep.x ()'],
    [
      'make functions in our schema',
      `create function tenantkeep.x() returns int language sql as 'select 1'`,
    ],
    ['make tables in public', 'create table public.x ()'],
    ['read a key function', 'select tenantkeep.keys_1()'],
    ['become the administrator', 'set role postgres'],
    ['become the scope role', 'set role tenantkeep_scope'],
    ['become the service role', 'set role service_role'],
    ['silence triggers by itself', 'set session_replication_role = replica'],
    ['give rights away', 'grant tenantkeep_operator to anon'],
    ['read users', 'select from auth.users'],
  ])('may not %s', async (_, sql) => {
    await expect(database.worker.query(sql)).rejects.toThrow(
      /permission denied|must be owner|does not exist/,
    )
  })

  it('pauses tenants itself, and never without a reason; nobody else does', async () => {
    const pause = (reason: string | null) =>
      database.worker.query(
        `insert into tenantkeep.paused_tenants (tenant_id, reason, paused_by) values ('x', $1, 'x')`,
        [reason],
      )
    for (const reason of [null, '', '  ']) {
      await expect(pause(reason)).rejects.toThrow(/paused_tenants_reason_said|null value/)
    }
    await pause('moving house')
    await database.worker.query(
      `update tenantkeep.paused_tenants set reason = 'moved' where tenant_id = 'x'`,
    )
    const { rowCount } = await database.worker.query(
      `delete from tenantkeep.paused_tenants where reason = 'moved'`,
    )
    expect(rowCount).toBe(1)

    const { rows } = await database.admin.query(
      `select relrowsecurity as secured from pg_class where oid = 'tenantkeep.paused_tenants'::regclass`,
    )
    expect(rows).toEqual([{ secured: true }])
    for (const role of ['anon', 'authenticated', 'service_role', 'tenantkeep_operator']) {
      await expect(
        as(role, { sub: OWNER }, (session) =>
          session.query(
            `insert into tenantkeep.paused_tenants (tenant_id, reason, paused_by) values ('y', 'y', 'y')`,
          ),
        ),
      ).rejects.toThrow(/permission denied/)
    }
  })

  it('may call neither census nor silence once it is the operator', async () => {
    for (const sql of [
      `select tenantkeep.census('${A}')`,
      'select tenantkeep.silence_triggers()',
      'select tenantkeep.list_tenants()',
      `select tenantkeep.administered_by('${OWNER}')`,
    ]) {
      await expect(
        database.worker.withConnection(async (session) => {
          await session.query('begin; set local role tenantkeep_operator')
          await session.query(sql)
        }),
      ).rejects.toThrow(/permission denied/)
    }
  })

  it('can’t write a row in a read only transaction', async () => {
    await expect(
      database.worker.withConnection(async (session) => {
        await session.query('begin read only; set local role tenantkeep_operator')
        await session.query(`select set_config('tenantkeep.tenant', '${A}', true)`)
        await session.query('update public.orgs set name = name')
      }),
    ).rejects.toThrow(/read-only transaction/)
  })

  it('silences triggers for one transaction only', async () => {
    const roles = await database.worker.withConnection(async (session) => {
      await session.query('begin; select tenantkeep.silence_triggers()')
      const inside = await session.query(
        `select current_setting('session_replication_role') as role`,
      )
      await session.query('commit')
      const after = await session.query(
        `select current_setting('session_replication_role') as role`,
      )
      return [inside.rows, after.rows]
    })
    expect(roles).toEqual([[{ role: 'replica' }], [{ role: 'origin' }]])
  })
})

describe('the census', () => {
  it.each([
    '',
    'x',
    `' or true --`,
    `${A}' or '1'='1`,
    '1; drop table public.orgs',
    '\\',
    '%s',
    '$1',
  ])('gives nothing away to the tenant id %s', async (tenant) => {
    const counts = await database.worker
      .query<{ count: string }>('select row_count as count from tenantkeep.census($1)', [tenant])
      .then(
        ({ rows }) => rows.map((row) => row.count),
        (error: unknown) => {
          expect(String(error)).toMatch(/invalid input syntax for type uuid/)
          return []
        },
      )
    expect(counts.filter((count) => count !== '0')).toEqual([])
  })

  it('counts nothing for no tenant', async () => {
    const { rows } = await database.worker.query(
      'select distinct row_count as count from tenantkeep.census(null)',
    )
    expect(rows).toEqual([{ count: '0' }])
  })

  it('fails rather than counts nothing where a policy would blind it', async () => {
    await withDatabase(async (fresh) => {
      await runScript(fresh.adminUrl, HOST)
      await initialiseProtection(fresh.admin, OPTIONS)
      // An owner of census that does not bypass row level security.
      await runScript(
        fresh.superuserUrl,
        `create role blind_${fresh.name}; grant usage, create on schema tenantkeep, public to blind_${fresh.name};
         grant select on all tables in schema tenantkeep, public to blind_${fresh.name};
         create policy blind on tenantkeep.tenant_tables to blind_${fresh.name} using (true);
         alter table tenantkeep.tenant_tables disable row level security;
         alter function tenantkeep.census(text) owner to blind_${fresh.name}`,
      )
      try {
        await expect(fresh.worker.query(`select tenantkeep.census('${A}')`)).rejects.toThrow(
          /would be affected by row-level security policy/,
        )
      } finally {
        await runScript(
          fresh.superuserUrl,
          `alter function tenantkeep.census(text) owner to postgres;
           drop policy blind on tenantkeep.tenant_tables;
           drop owned by blind_${fresh.name}; drop role blind_${fresh.name}`,
        )
      }
    })
  })

  it.each([
    ['census', `select tenantkeep.census('${A}')`, 'uuid'],
    ['list_tenants', 'select tenantkeep.list_tenants()', 'text'],
    ['administered_by', `select tenantkeep.administered_by('${OWNER}')`, 'uuid'],
    ['belongs_to', `select tenantkeep.belongs_to('${OWNER}', '${A}')`, 'uuid'],
  ])(
    'a temporary type or table of the caller is not taken for the real one by %s',
    async (_, call, type) => {
      const outcome = database.worker.withConnection(async (session) => {
        await session.query(
          `create function pg_temp.spy(value pg_catalog.${type}) returns boolean language plpgsql
           as $$ begin raise exception 'spied as %', current_user; end $$;
         create domain pg_temp.${type} as pg_catalog.${type} check (pg_temp.spy(value))`,
        )
        await session.query(
          `create temp view settings as select 'tenant_table' as key, '{}'::jsonb as value`,
        )
        return (await session.query(call)).rowCount
      })
      await expect(outcome).resolves.toBeGreaterThan(0)
    },
  )

  it('key functions of the operator do not take them either', async () => {
    await withDatabase(async (fresh) => {
      await runScript(
        fresh.adminUrl,
        `${HOST} create table posts (profile uuid not null, org uuid not null,
           foreign key (profile, org) references profiles (id, organization_id));
         alter table posts enable row level security`,
      )
      await initialiseProtection(fresh.admin, OPTIONS)
      const { rowCount } = await fresh.worker.withConnection(async (session) => {
        await session.query(
          `create function pg_temp.spy(value pg_catalog.uuid) returns boolean language plpgsql
             as $$ begin raise exception 'spied as %', current_user; end $$;
           create domain pg_temp.uuid as pg_catalog.uuid check (pg_temp.spy(value));
           begin; grant execute on function pg_temp.spy to public; set local role tenantkeep_operator`,
        )
        await session.query(`select set_config('tenantkeep.tenant', '${A}', true)`)
        const keys = await session.query('select * from tenantkeep.keys_1()')
        await session.query('rollback')
        return keys
      })
      expect(rowCount).toBe(3)
    })
  })
})

describe('the setting membership', () => {
  it.each([
    ['text ids and other names', 'text', 'user_2abc'],
    ['integer ids', 'integer', '42'],
  ])('may name a table of another shape: %s', async (_, type, user) => {
    await withDatabase(async (fresh) => {
      await runScript(
        fresh.adminUrl,
        `${HOST} ${JOURNAL}
         create schema "Team";
         create table "Team"."Mem bers" ("User" ${type}, "Org.id" uuid, "Role" text);
         insert into "Team"."Mem bers" values ('${user}', '${A}', 'boss'), ('${user}', '${B}', 'guest'), ('${user}', null, 'boss');
         insert into tenantkeep.settings values ('membership', '{"schema": "Team", "table": "Mem bers",
           "user": "User", "tenant": "Org.id", "role": "Role", "roles": ["boss"]}')`,
      )
      await initialiseProtection(fresh.admin, OPTIONS)
      const administered = await fresh.worker.query(
        'select tenant_id, role from tenantkeep.administered_by($1)',
        [user],
      )
      expect(administered.rows).toEqual([{ tenant_id: A, role: 'boss' }])
      const other = await fresh.worker.query(
        `select tenantkeep.administered_by('nobody'), tenantkeep.belongs_to('nobody', $1) as b`,
        [A],
      )
      expect(other.rows).toEqual([])
      const belongs = await fresh.worker.query(
        `select tenantkeep.belongs_to($1, $2) as a, tenantkeep.belongs_to($1, $3) as b,
           tenantkeep.belongs_to($1, 'x') as c, tenantkeep.belongs_to('nobody', $2) as d`,
        [user, A, B],
      )
      expect(belongs.rows).toEqual([{ a: true, b: true, c: false, d: false }])

      const seen = await fresh.admin.withConnection(async (session) => {
        await session.query('begin; set local role authenticated')
        await session.query(`select set_config('request.jwt.claims', $1, true)`, [
          JSON.stringify({ sub: user }),
        ])
        const { rows } = await session.query(
          'select organization_id as id from public.tenant_backups',
        )
        await session.query('rollback')
        return rows
      })
      expect(seen).toEqual([{ id: A }])
    })
  })
})

describe('definer functions', () => {
  it('name every table with its schema, none of them temporary, and find pg_temp last', async () => {
    const { rows } = await database.admin.query<{ name: string; body: string; config: string }>(
      `select p.oid::regprocedure::text as name, p.prosrc as body, p.proconfig::text as config
       from pg_proc p
       where p.pronamespace in ('tenantkeep'::regnamespace, 'tenantkeep_jobs'::regnamespace)
         -- Those that nobody but the owner may call run within the others, with their rights.
         and (p.prosecdef or p.proowner = all (select a.grantee from aclexplode(p.proacl) a)) order by 1`,
    )
    expect(rows.length).toBeGreaterThan(20)
    for (const { name, body, config } of rows) {
      expect(config, name).toMatch(/search_path=pg_catalog, pg_temp/)
      expect(body, name).not.toMatch(/pg_temp/)
      const relations = [
        ...body.matchAll(
          /\b(?:from|join|insert into|(?<!do )update|delete from) +(?:only +)?([a-z_]+)(?!\w|\.|\()/g,
        ),
      ]
      const named = [...body.matchAll(/\b([a-z_]+)(?: \([a-z_, ]+\))? as (?:materialized )?\(/g)]
      const own = new Set(named.map(([, query]) => query))
      expect(
        relations.map(([, relation]) => relation).filter((relation) => !own.has(relation)),
        name,
      ).toEqual([])
    }
  })
})

describe('installing', () => {
  it('works on a plain Postgres, and init on it', () =>
    withDatabase(
      async (plain) => {
        await runScript(plain.superuserUrl, 'alter schema public owner to postgres')
        await runScript(plain.adminUrl, HOST)
        // The roles of the API are there in the cluster, but this database has no `auth`.
        const report = await initialiseProtection(plain.admin, OPTIONS)
        expect(report).toMatchObject({ isApplied: true, unsettled: [] })
        const { rows } = await plain.worker.query(
          `select row_count as count from tenantkeep.census('${A}') order by 1`,
        )
        expect(rows).toEqual([{ count: '1' }, { count: '3' }])
      },
      { template: 'empty' },
    ))

  it('gives a database the whole history once, however many install at once', () =>
    withDatabase(
      async (empty) => {
        await runScript(empty.superuserUrl, 'alter schema public owner to postgres')
        const installs = await Promise.all(
          [1, 2, 3].map(() => empty.admin.withConnection(installSchema)),
        )
        const versions = (await readMigrations()).map(({ name }) => name.split('_')[0])
        expect(installs.flat().sort()).toEqual(versions)
        const { rows } = await empty.worker.query<{ version: string }>(
          'select version from tenantkeep.migrations order by 1',
        )
        expect(rows.map((row) => row.version)).toEqual(versions)
      },
      { template: 'empty' },
    ))

  it('refuses to touch what a newer version installed', () =>
    withDatabase(async (newer) => {
      await newer.admin.query(`insert into tenantkeep.migrations values ('29990101000000')`)
      await expect(newer.admin.withConnection(installSchema)).rejects.toMatchObject({
        code: 'schema_outdated',
        message: expect.stringContaining('newer (29990101000000)'),
      })
    }))

  it('upgrades an older schema, which the functions refuse until then, as they do a newer one', () =>
    withDatabase(
      async (host) => {
        const migrations = await readMigrations()
        const [newest, ...older] = migrations.toReversed()
        for (const { sql } of older.toReversed()) await runScript(host.adminUrl, sql)
        await expect(requireSchema(host.worker)).rejects.toMatchObject({
          code: 'schema_outdated',
          status: 503,
          message: expect.stringContaining('older'),
        })

        expect(await host.admin.withConnection(installSchema)).toEqual([newest?.name.split('_')[0]])

        await expect(requireSchema(host.worker)).resolves.toBeUndefined()
        expect(await listSchema(host.superuser)).toBe(await readFile(GOLDEN, 'utf8'))
        await host.admin.query(`insert into tenantkeep.migrations values ('29990101000000')`)
        await expect(requireSchema(host.worker)).rejects.toMatchObject({
          code: 'schema_outdated',
          status: 503,
          message: expect.stringContaining('newer'),
        })
      },
      { template: 'hosted' },
    ))

  it('does nothing where the migrations were pushed', async () => {
    await withDatabase(async (fresh) => {
      const before = await listSchema(fresh.superuser)
      expect(await fresh.admin.withConnection(installSchema)).toEqual([])
      expect(await listSchema(fresh.superuser)).toBe(before)
    })
  })

  it('refuses a table of the host that has the name of one of ours', () =>
    withDatabase(
      async (empty) => {
        await runScript(empty.superuserUrl, 'alter schema public owner to postgres')
        await runScript(empty.adminUrl, 'create table public.backup_logs (id int)')
        await expect(empty.admin.withConnection(installSchema)).rejects.toMatchObject({
          code: 'invalid_request',
          message: expect.stringContaining('public.backup_logs'),
        })
        const { rows } = await empty.admin.query(`select to_regnamespace('tenantkeep') as ours`)
        expect(rows).toEqual([{ ours: null }])
      },
      { template: 'empty' },
    ))

  it('goes on after a migration that failed, and leaves nothing of it behind', () =>
    withDatabase(
      async (empty) => {
        await runScript(empty.superuserUrl, 'alter schema public owner to postgres')
        await runScript(empty.adminUrl, 'create type public.backup_logs as enum ()')
        await expect(empty.admin.withConnection(installSchema)).rejects.toThrow(/backup_logs/)
        const { rows } = await empty.admin.query(
          `select max(version) as version, to_regclass('tenantkeep.runs') is null as "isClean" from tenantkeep.migrations`,
        )
        expect(rows).toEqual([{ version: '20261121090100', isClean: true }])
        await runScript(empty.adminUrl, 'drop type public.backup_logs')
        expect((await empty.admin.withConnection(installSchema))[0]).toBe('20261121090200')
      },
      { template: 'empty' },
    ))
})

describe('the worker’s password', () => {
  it('is replaced at once, and stands in no statement that others see or the server logs', async () => {
    // A cluster of its own: the login is shared by all tests of the other.
    const { cluster, stop } = await startTestCluster()
    const admin = connectDatabase({ url: urlOf(cluster, 'postgres', 'tk_template') })
    const superuser = connectDatabase({ url: urlOf(cluster, 'supabase_admin', 'tk_template') })
    try {
      const seen: string[] = []
      const password = await admin.withConnection(async (session) => {
        const watched = {
          query: <Row>(sql: string, params?: readonly unknown[]) => {
            seen.push(sql, JSON.stringify(params ?? []))
            return session.query<Row>(sql, params)
          },
        }
        const made = await setWorkerPassword(watched)
        const { rows } = await superuser.query<{ query: string }>(
          'select query from pg_stat_activity',
        )
        seen.push(...rows.map((row) => row.query))
        return made
      })
      expect(password.length).toBeGreaterThanOrEqual(32)
      expect(seen.filter((text) => text.includes(password))).toEqual([])
      expect(seen.join()).toContain('SCRAM-SHA-256$4096:')

      const login = async (url: string) => {
        const worker = connectDatabase({ url })
        try {
          const { rows } = await worker.query<{ who: string }>('select session_user as who')
          return rows[0]?.who
        } finally {
          await worker.close()
        }
      }
      const adminUrl = urlOf(cluster, 'postgres', 'tk_template')
      expect(await login(workerUrl(adminUrl, password))).toBe('tenantkeep_worker')
      await expect(login(urlOf(cluster, 'tenantkeep_worker', 'tk_template'))).rejects.toMatchObject(
        {
          code: 'database_unavailable',
        },
      )
    } finally {
      await Promise.all([admin.close(), superuser.close()])
      await stop()
    }
  })

  it.each([
    ['postgres://postgres:pw@db.example:5432/postgres', 'tenantkeep_worker'],
    [
      'postgres://postgres.abcdefgh:p%40w@pooler.example:5432/postgres?sslmode=require',
      'tenantkeep_worker.abcdefgh',
    ],
    ['postgresql://admin@localhost/db', 'tenantkeep_worker'],
  ])('becomes the URL of the worker: %s', (adminUrl, user) => {
    const url = new URL(workerUrl(adminUrl, 'se:cr@t/?#'))
    const admin = new URL(adminUrl)
    expect([
      url.username,
      decodeURIComponent(url.password),
      url.host,
      url.pathname,
      url.search,
    ]).toEqual([user, 'se:cr@t/?#', admin.host, admin.pathname, admin.search])
  })
})
