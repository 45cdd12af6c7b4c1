-- Operators read the catalog and the journal of every tenant, so that the page shows them what the functions
-- tell them anyway. The policies are replaced rather than joined by a second one, which the advisor would
-- count as a fault.

do $$
begin
  if to_regprocedure('tenantkeep.administered_tenants()') is null then
    return;
  end if;
  execute $sql$
    create function tenantkeep.is_operator() returns boolean
      language sql stable security definer set search_path = pg_catalog, pg_temp
      as $f$
        select exists (
          select from tenantkeep.operators o
          where o.user_id = coalesce(
            nullif(current_setting('request.jwt.claim.sub', true), ''), auth.jwt() ->> 'sub'
          )
        )
      $f$
  $sql$;
  comment on function tenantkeep.is_operator() is
    'Whether the signed-in user is listed as an operator; what the policies of the public tables ask. Definer, because users can''t read the list; it answers only about the caller.';
  revoke all on function tenantkeep.is_operator() from public;
  grant execute on function tenantkeep.is_operator() to authenticated;

  drop policy "Owners and admins read the backups of their tenants" on public.tenant_backups;
  create policy "Owners and admins read the backups of their tenants, operators all" on public.tenant_backups
    for select to authenticated
    using (organization_id in (select tenantkeep.administered_tenants()) or (select tenantkeep.is_operator()));
  drop policy "Owners and admins read the journal of their tenants" on public.backup_logs;
  create policy "Owners and admins read the journal of their tenants, operators all" on public.backup_logs
    for select to authenticated
    using (organization_id in (select tenantkeep.administered_tenants()) or (select tenantkeep.is_operator()));
end
$$;

insert into tenantkeep.migrations (version) values ('20261121092300');
