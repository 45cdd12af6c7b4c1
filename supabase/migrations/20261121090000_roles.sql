-- The three roles of the data plane, and the private schema. Roles belong to the whole server, so each
-- is made only where it is missing; grants are repeated, which changes nothing where they exist.
--
--   tenantkeep_worker    the login of functions and command line; owns nothing, becomes the operator
--   tenantkeep_operator  the only role that touches tenant rows; row level security confines it
--   tenantkeep_scope     what our policies are written to; no grant at all, inherited by the operator
--
-- Why a role of its own for the policies: Supabase's lint 0006 counts a permissive and a restrictive
-- policy of one role as «multiple permissive policies» and passes over roles with bypassrls. That
-- attribute is not inherited, so it opens nothing. Before Postgres 16 a non-superuser can't make such a
-- role; there the policies are written to the operator itself (see src/core/tables/protection-sql.ts).

create schema if not exists tenantkeep;
comment on schema tenantkeep is
  'Tenantkeep: per-tenant backup and restore. Private; not exposed through the API.';
revoke all on schema tenantkeep from public;

do $$
begin
  if not exists (select from pg_roles where rolname = 'tenantkeep_operator') then
    create role tenantkeep_operator nologin nobypassrls inherit;
  end if;
  if not exists (select from pg_roles where rolname = 'tenantkeep_worker') then
    -- No password: nobody can log in until `init` sets one.
    create role tenantkeep_worker login nobypassrls noinherit;
  end if;
  if current_setting('server_version_num')::int >= 160000 then
    if not exists (select from pg_roles where rolname = 'tenantkeep_scope') then
      execute 'create role tenantkeep_scope nologin bypassrls';
    end if;
    execute 'grant tenantkeep_scope to tenantkeep_operator with inherit true, set false';
    execute 'grant tenantkeep_operator to tenantkeep_worker with inherit false, set true';
    -- For init and doctor, which probe every table as the operator.
    if not pg_has_role(current_user, 'tenantkeep_operator', 'set') then
      execute format('grant tenantkeep_operator to %I with inherit false, set true', current_user);
    end if;
  else
    execute 'grant tenantkeep_operator to tenantkeep_worker';
    -- For init and doctor too. What it inherits with that are rights on its own tables, and policies that
    -- do not bind it, since it bypasses row level security.
    if not pg_has_role(current_user, 'tenantkeep_operator', 'member') then
      execute format('grant tenantkeep_operator to %I', current_user);
    end if;
  end if;
  execute format('grant connect, temporary on database %I to tenantkeep_operator', current_database());
  execute format('grant connect on database %I to tenantkeep_worker', current_database());
end
$$;

grant usage on schema tenantkeep to tenantkeep_worker, tenantkeep_operator;
