-- Who may see and change what in the demonstration, the way Supabase teaches it: policies for
-- `authenticated` only, one per operation, the caller's organizations asked once per statement.
-- New tables carry no grants, so every right is given here by name. Nobody signed out sees anything.

-- Security definer, so that a policy on profiles can ask profiles. Volatile it must not be:
-- the planner calls it once per statement.
create function private.my_organizations(allowed_roles text[] default '{owner,admin,member}')
  returns setof uuid
  language sql stable security definer set search_path = ''
as $$
  select profiles.organization_id
  from public.profiles
  where profiles.id = (select auth.uid())
    and profiles.role = any (my_organizations.allowed_roles)
$$;
revoke all on function private.my_organizations(text[]) from public;
grant usage on schema private to authenticated;
grant execute on function private.my_organizations(text[]) to authenticated;

do $$
declare
  demo_table text;
begin
  foreach demo_table in array array[
    'organizations', 'profiles', 'customers', 'bottles', 'rentals', 'rental_invoices',
    'invoice_line_items', 'deliveries', 'notifications', 'audit_logs', 'support_tickets',
    'support_ticket_messages', 'locations', 'gas_types', 'cylinder_fills', 'bottle_scans',
    'user_invites', 'ownership_values', 'organization_join_codes', 'customer_support',
    'verification_requests', 'verified_orders', 'sales_orders', 'sales_order_items',
    'Price List 2025'
  ] loop
    execute format('alter table public.%I enable row level security', demo_table);
    execute format('revoke all on public.%I from anon, authenticated', demo_table);
    execute format('grant select, insert, update, delete on public.%I to service_role', demo_table);
  end loop;
end
$$;
grant usage on sequence
  public.cylinder_fills_id_seq, public.bottle_scans_id_seq, public.audit_logs_id_seq
  to service_role;

-- The organization and its people. Nobody changes roles or founds organizations through the API.
grant select, update (name, settings) on public.organizations to authenticated;
create policy "Members see their organization" on public.organizations
  for select to authenticated using (id in (select private.my_organizations()));
create policy "Owners and admins change their organization" on public.organizations
  for update to authenticated
  using (id in (select private.my_organizations('{owner,admin}')))
  with check (id in (select private.my_organizations('{owner,admin}')));

grant select, update (full_name, notification_channels) on public.profiles to authenticated;
create policy "Members see their colleagues" on public.profiles
  for select to authenticated using (organization_id in (select private.my_organizations()));
create policy "People change their own profile" on public.profiles
  for update to authenticated
  using (id = (select auth.uid())) with check (id = (select auth.uid()));

-- Daily business: members read and write, owners and admins also delete.
do $$
declare
  demo_table text;
begin
  foreach demo_table in array array[
    'customers', 'bottles', 'rentals', 'rental_invoices', 'deliveries', 'support_tickets',
    'locations', 'gas_types', 'cylinder_fills', 'bottle_scans', 'ownership_values',
    'customer_support', 'verification_requests', 'sales_orders', 'Price List 2025'
  ] loop
    execute format(
      'grant select, insert, update, delete on public.%I to authenticated', demo_table);
    execute format(
      'create policy "Members see rows of their organization" on public.%I
         for select to authenticated
         using (organization_id in (select private.my_organizations()))', demo_table);
    execute format(
      'create policy "Members add rows to their organization" on public.%I
         for insert to authenticated
         with check (organization_id in (select private.my_organizations()))', demo_table);
    execute format(
      'create policy "Members change rows of their organization" on public.%I
         for update to authenticated
         using (organization_id in (select private.my_organizations()))
         with check (organization_id in (select private.my_organizations()))', demo_table);
    execute format(
      'create policy "Owners and admins delete rows of their organization" on public.%I
         for delete to authenticated
         using (organization_id in (select private.my_organizations(''{owner,admin}'')))',
      demo_table);
  end loop;
end
$$;
grant usage on sequence public.cylinder_fills_id_seq, public.bottle_scans_id_seq to authenticated;

-- Children without organization_id: whoever sees the parent may work on them.
do $$
declare
  child record;
begin
  for child in
    select * from (values
      ('invoice_line_items', 'invoice_id in (select id from public.rental_invoices)'),
      ('support_ticket_messages', 'ticket_id in (select id from public.support_tickets)'),
      ('sales_order_items', 'sales_order_id in (select id from public.sales_orders)'),
      ('verified_orders', 'sales_order_id in (select id from public.sales_orders)')
    ) as children (table_name, sees_parent)
  loop
    execute format(
      'grant select, insert, update, delete on public.%I to authenticated', child.table_name);
    execute format(
      'create policy "Members see rows of what they see" on public.%I
         for select to authenticated using (%s)', child.table_name, child.sees_parent);
    execute format(
      'create policy "Members add rows to what they see" on public.%I
         for insert to authenticated with check (%s)', child.table_name, child.sees_parent);
    execute format(
      'create policy "Members change rows of what they see" on public.%I
         for update to authenticated using (%s) with check (%2$s)',
      child.table_name, child.sees_parent);
    execute format(
      'create policy "Members delete rows of what they see" on public.%I
         for delete to authenticated using (%s)', child.table_name, child.sees_parent);
  end loop;
end
$$;

-- Notifications belong to one person. The application writes them with the service role.
grant select, update (read_at), delete on public.notifications to authenticated;
create policy "People see their own notifications" on public.notifications
  for select to authenticated using (recipient_id = (select auth.uid()));
create policy "People mark their own notifications" on public.notifications
  for update to authenticated
  using (recipient_id = (select auth.uid())) with check (recipient_id = (select auth.uid()));
create policy "People delete their own notifications" on public.notifications
  for delete to authenticated using (recipient_id = (select auth.uid()));

-- The log is written by a trigger and changed by nobody.
grant select on public.audit_logs to authenticated;
create policy "Owners and admins read the log" on public.audit_logs
  for select to authenticated
  using (organization_id in (select private.my_organizations('{owner,admin}')));

-- Ways into the organization are for those who run it.
do $$
declare
  demo_table text;
begin
  foreach demo_table in array array['user_invites', 'organization_join_codes'] loop
    execute format(
      'grant select, insert, update, delete on public.%I to authenticated', demo_table);
    execute format(
      'create policy "Owners and admins see ways in" on public.%I
         for select to authenticated
         using (organization_id in (select private.my_organizations(''{owner,admin}'')))',
      demo_table);
    execute format(
      'create policy "Owners and admins add ways in" on public.%I
         for insert to authenticated
         with check (organization_id in (select private.my_organizations(''{owner,admin}'')))',
      demo_table);
    execute format(
      'create policy "Owners and admins change ways in" on public.%I
         for update to authenticated
         using (organization_id in (select private.my_organizations(''{owner,admin}'')))
         with check (organization_id in (select private.my_organizations(''{owner,admin}'')))',
      demo_table);
    execute format(
      'create policy "Owners and admins delete ways in" on public.%I
         for delete to authenticated
         using (organization_id in (select private.my_organizations(''{owner,admin}'')))',
      demo_table);
  end loop;
end
$$;
