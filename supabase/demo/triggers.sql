-- What the demonstration does by itself when its rows change. The functions stand in a schema of
-- their own, which the API does not expose.

create schema if not exists private;
revoke all on schema private from public;

create function private.touch_updated_at() returns trigger
  language plpgsql set search_path = ''
as $$
begin
  new.updated_at := pg_catalog.now();
  return new;
end
$$;
revoke all on function private.touch_updated_at() from public;

-- Security definer, because members may not write audit_logs themselves.
create function private.write_audit_log() returns trigger
  language plpgsql security definer set search_path = ''
as $$
declare
  before_image jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  after_image jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  changed jsonb := coalesce(after_image, before_image);
begin
  -- While an organization is being deleted its rows go one after another; the log goes too.
  insert into public.audit_logs
    (organization_id, actor_id, table_name, record_id, action, old_record, new_record)
  select organizations.id, auth.uid(), tg_table_name, changed ->> 'id', lower(tg_op),
    before_image, after_image
  from public.organizations
  where organizations.id = (changed ->> 'organization_id')::uuid;
  return null;
end
$$;
revoke all on function private.write_audit_log() from public;

create trigger touch_updated_at before update on public.customers
  for each row execute function private.touch_updated_at();
create trigger touch_updated_at before update on public.bottles
  for each row execute function private.touch_updated_at();

-- shape: a trigger that writes another table
create trigger write_audit_log after insert or update or delete on public.customers
  for each row execute function private.write_audit_log();
create trigger write_audit_log after insert or update or delete on public.bottles
  for each row execute function private.write_audit_log();
create trigger write_audit_log after insert or update or delete on public.rentals
  for each row execute function private.write_audit_log();
