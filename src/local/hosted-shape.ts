import pg from 'pg'

/**
 * What a hosted Supabase project has before its owner's first migration and the emulation lacks or does
 * differently: the roles of the API, who may reach `auth` and `storage`, and the bodies of the `auth`
 * functions, which policies call. Tests against other bodies would lie.
 */

/** Roles belong to the cluster: once is enough, repeating changes nothing. */
const API_ROLES = `
do $$
begin
  if to_regrole('anon') is null then
    create role anon nologin noinherit;
    create role authenticated nologin noinherit;
    create role service_role nologin noinherit bypassrls;
    grant anon, authenticated, service_role to postgres;
    alter role anon set statement_timeout = '3s';
    alter role authenticated set statement_timeout = '8s';
  end if;
end
$$;
`

const HOSTED_SHAPE = `
create or replace function auth.uid() returns uuid language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
  )::uuid
$$;
create or replace function auth.role() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
  )::text
$$;
create or replace function auth.email() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email')
  )::text
$$;
create or replace function auth.jwt() returns jsonb language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')
  )::jsonb
$$;

grant usage on schema public to postgres, anon, authenticated, service_role;

grant usage on schema auth to postgres, anon, authenticated, service_role;
grant all on all tables in schema auth to postgres;

grant usage on schema storage to postgres, anon, authenticated, service_role;
grant all on storage.buckets, storage.objects to postgres, anon, authenticated, service_role;
alter table storage.buckets enable row level security;
alter table storage.objects enable row level security;

alter schema supabase_migrations owner to postgres;
do $$
declare
  history record;
begin
  for history in select oid::regclass as name from pg_class
    where relnamespace = 'supabase_migrations'::regnamespace and relkind = 'r'
  loop
    execute format('alter table %s owner to postgres', history.name);
  end loop;
end
$$;
`

/** Makes the API's roles. As the superuser, before the schemas of Auth and Storage. */
export async function createApiRoles(superuserUrl: string): Promise<void> {
  await runScript(superuserUrl, API_ROLES)
}

/** Gives the schemas of Auth and Storage their hosted shape. As the superuser, after they are made. */
export async function applyHostedShape(superuserUrl: string): Promise<void> {
  await runScript(superuserUrl, HOSTED_SHAPE)
}

/** Runs SQL text of any number of statements on a connection of its own. */
export async function runScript(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}
