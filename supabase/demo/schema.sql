-- The demonstration host application: a business that rents gas cylinders to its customers.
-- Many such businesses (organizations) share this one database. It stands in for any application
-- that Tenantkeep protects, so it holds on purpose what makes tables hard to copy. Look for «shape:».
-- Files in order: schema.sql, triggers.sql, policies.sql. Run as `postgres`, into schema `public`.

-- shape: an enum
create type public.bottle_status as enum ('in stock', 'filled', 'rented', 'in service', 'lost', 'scrapped');

-- shape: domains, one over numeric and one over text
create domain public.money_amount as numeric(14, 2)
  constraint money_amount_not_negative check (value >= 0);
create domain public.barcode as text
  constraint barcode_format check (value ~ '^[A-Z0-9-]{4,32}$');

-- The tenant itself.
create table public.organizations (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  slug text not null constraint organizations_slug_key unique,
  plan text not null default 'trial'
    constraint organizations_plan_check check (plan in ('trial', 'standard', 'enterprise')),
  country text not null default 'US',
  settings jsonb not null default '{}',
  created_at timestamptz not null default now()
);

-- shape: a reference to auth.users, as the primary key
create table public.profiles (
  id uuid primary key references auth.users (id) on delete cascade,
  organization_id uuid not null references public.organizations (id) on delete cascade,
  email text not null,
  full_name text not null,
  role text not null default 'member'
    constraint profiles_role_check check (role in ('owner', 'admin', 'member')),
  notification_channels text[] not null default '{email}',
  created_at timestamptz not null default now()
);
create index profiles_organization_id_idx on public.profiles (organization_id);

create table public.locations (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  name text not null,
  kind text not null default 'yard',
  address text,
  -- shape: arrays of numbers (latitude and longitude)
  coordinates double precision[],
  -- shape: `json`, which keeps line breaks, order and repeated keys as they were typed
  opening_hours json,
  created_at timestamptz not null default now()
);
create index locations_organization_id_idx on public.locations (organization_id);

-- shape: a composite primary key on a table with the tenant column
create table public.gas_types (
  organization_id uuid not null references public.organizations (id) on delete cascade,
  code text not null,
  name text not null,
  un_number text,
  hazard_classes text[] not null default '{}',
  -- shape: numeric beyond 15 digits
  density_kg_per_m3 numeric(30, 20) not null,
  -- shape: interval
  inspection_interval interval not null default '5 years',
  created_at timestamptz not null default now(),
  primary key (organization_id, code)
);

create table public.customers (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  customer_number text not null,
  name text not null,
  -- shape: a self-reference (a branch belongs to its head office)
  parent_customer_id uuid references public.customers (id) on delete set null,
  -- shape: a column whose name needs quoting
  "VAT No." text,
  billing_address text,
  tags text[] not null default '{}',
  -- shape: `jsonb` that holds SQL null in some rows and JSON null in others
  contact jsonb,
  credit_limit public.money_amount,
  -- shape: numeric without a limit, beyond 15 digits
  balance numeric not null default 0,
  notes text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint customers_number_key unique (organization_id, customer_number)
);
create index customers_parent_customer_id_idx on public.customers (parent_customer_id);

create table public.bottles (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  barcode public.barcode not null,
  gas_code text not null,
  location_id uuid references public.locations (id) on delete set null,
  -- shape: a foreign-key cycle (a bottle names its open rental, a rental names its bottle);
  -- the constraint follows below, when both tables exist
  current_rental_id uuid,
  status public.bottle_status not null default 'in stock',
  capacity_litres numeric(8, 3) not null,
  -- shape: bigint beyond 2^53
  chip_number bigint,
  last_inspected_on date,
  -- shape: a generated column
  next_inspection_on date generated always as ((last_inspected_on + 1826)) stored,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint bottles_barcode_key unique (organization_id, barcode),
  constraint bottles_gas_fkey foreign key (organization_id, gas_code)
    references public.gas_types (organization_id, code) on update cascade
);
create index bottles_gas_idx on public.bottles (organization_id, gas_code);
create index bottles_location_id_idx on public.bottles (location_id);
create index bottles_current_rental_id_idx on public.bottles (current_rental_id);

create table public.rentals (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  customer_id uuid not null references public.customers (id) on delete cascade,
  bottle_id uuid not null references public.bottles (id) on delete cascade,
  started_on date not null,
  ended_on date,
  -- shape: a generated column that is null in some rows
  days integer generated always as (ended_on - started_on) stored,
  daily_rate public.money_amount not null,
  deposit public.money_amount,
  -- shape: timestamptz that may be infinity (a contract without an end)
  contract_until timestamptz not null default 'infinity',
  created_at timestamptz not null default now(),
  constraint rentals_dates_check check (ended_on >= started_on)
);
create index rentals_organization_id_idx on public.rentals (organization_id);
create index rentals_customer_id_idx on public.rentals (customer_id);
create index rentals_bottle_id_idx on public.rentals (bottle_id);
-- shape: a partial unique index (a bottle is out once at a time)
create unique index rentals_one_open_per_bottle on public.rentals (bottle_id) where ended_on is null;

alter table public.bottles
  add constraint bottles_current_rental_id_fkey
  foreign key (current_rental_id) references public.rentals (id) on delete set null;

create table public.rental_invoices (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  customer_id uuid not null references public.customers (id) on delete cascade,
  invoice_number text not null,
  status text not null default 'draft'
    constraint rental_invoices_status_check check (status in ('draft', 'sent', 'paid', 'void')),
  issued_on date not null,
  due_on date not null,
  net_amount public.money_amount not null,
  tax_amount public.money_amount not null default 0,
  -- shape: a generated column over a domain
  total_amount numeric(15, 2) generated always as (net_amount + tax_amount) stored,
  payment jsonb,
  created_at timestamptz not null default now(),
  constraint rental_invoices_number_key unique (organization_id, invoice_number)
);
create index rental_invoices_customer_id_idx on public.rental_invoices (customer_id);

-- shape: a child without organization_id, with a second, nullable way to its tenant
create table public.invoice_line_items (
  id uuid primary key default gen_random_uuid(),
  invoice_id uuid not null references public.rental_invoices (id) on delete cascade,
  rental_id uuid references public.rentals (id) on delete set null,
  position integer not null,
  description text not null,
  quantity numeric(12, 3) not null default 1,
  -- shape: numeric beyond 15 digits
  unit_price numeric(38, 20) not null,
  amount numeric(30, 2) generated always as (round(quantity * unit_price, 2)) stored,
  constraint invoice_line_items_position_key unique (invoice_id, position)
);
create index invoice_line_items_rental_id_idx on public.invoice_line_items (rental_id);

create table public.deliveries (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  customer_id uuid not null references public.customers (id) on delete cascade,
  driver_id uuid references public.profiles (id) on delete set null,
  from_location_id uuid references public.locations (id) on delete set null,
  scheduled_for timestamptz not null,
  time_window interval not null default '2 hours',
  -- shape: ids inside an array (no foreign key can follow them)
  bottle_ids uuid[] not null default '{}',
  -- shape: an array of two dimensions
  stops text[][],
  -- shape: bytea
  signature bytea,
  delivered_at timestamptz
);
create index deliveries_organization_id_idx on public.deliveries (organization_id);
create index deliveries_customer_id_idx on public.deliveries (customer_id);
create index deliveries_driver_id_idx on public.deliveries (driver_id);
create index deliveries_from_location_id_idx on public.deliveries (from_location_id);

create table public.cylinder_fills (
  -- shape: an identity column that takes values from outside (`by default`)
  id bigint generated by default as identity primary key,
  organization_id uuid not null references public.organizations (id) on delete cascade,
  bottle_id uuid not null references public.bottles (id) on delete cascade,
  gas_code text not null,
  filled_by uuid references public.profiles (id) on delete set null,
  filled_at timestamptz not null,
  volume_litres double precision,
  pressure_bar real,
  purity numeric(21, 20),
  constraint cylinder_fills_gas_fkey foreign key (organization_id, gas_code)
    references public.gas_types (organization_id, code) on update cascade
);
create index cylinder_fills_gas_idx on public.cylinder_fills (organization_id, gas_code);
create index cylinder_fills_bottle_id_idx on public.cylinder_fills (bottle_id);
create index cylinder_fills_filled_by_idx on public.cylinder_fills (filled_by);

-- The largest table of most tenants: every time somebody holds a scanner to a bottle.
create table public.bottle_scans (
  -- shape: an identity column that takes no values from outside (`always`)
  id bigint generated always as identity primary key,
  organization_id uuid not null references public.organizations (id) on delete cascade,
  bottle_id uuid not null references public.bottles (id) on delete cascade,
  location_id uuid references public.locations (id) on delete set null,
  scanned_by uuid references public.profiles (id) on delete set null,
  -- shape: timestamptz with microseconds, and infinity where a clock had no time
  scanned_at timestamptz not null,
  action text not null default 'seen',
  -- shape: bigint beyond 2^53
  device_serial bigint not null,
  -- shape: `jsonb` that holds SQL null in some rows and JSON null in others
  reading jsonb,
  note text
);
create index bottle_scans_organization_id_idx on public.bottle_scans (organization_id);
create index bottle_scans_bottle_id_idx on public.bottle_scans (bottle_id);
create index bottle_scans_location_id_idx on public.bottle_scans (location_id);
create index bottle_scans_scanned_by_idx on public.bottle_scans (scanned_by);

-- shape: a table without a primary key, in which two rows may be equal
create table public.ownership_values (
  organization_id uuid not null references public.organizations (id) on delete cascade,
  bottle_id uuid references public.bottles (id) on delete cascade,
  owner_kind text not null,
  value public.money_amount,
  valued_on date not null
);
create index ownership_values_organization_id_idx on public.ownership_values (organization_id);
create index ownership_values_bottle_id_idx on public.ownership_values (bottle_id);

create table public.notifications (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  recipient_id uuid not null references public.profiles (id) on delete cascade,
  title text not null,
  body text not null default '',
  data jsonb,
  read_at timestamptz,
  created_at timestamptz not null default now()
);
create index notifications_organization_id_idx on public.notifications (organization_id);
create index notifications_recipient_id_idx on public.notifications (recipient_id);

-- shape: a table that a trigger writes (triggers.sql), and a second reference to auth.users
create table public.audit_logs (
  id bigint generated always as identity primary key,
  organization_id uuid not null references public.organizations (id) on delete cascade,
  actor_id uuid references auth.users (id) on delete set null,
  table_name text not null,
  record_id text not null,
  action text not null,
  old_record jsonb,
  new_record jsonb,
  happened_at timestamptz not null default now()
);
create index audit_logs_organization_id_idx on public.audit_logs (organization_id);
create index audit_logs_actor_id_idx on public.audit_logs (actor_id);

create table public.support_tickets (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  customer_id uuid references public.customers (id) on delete set null,
  opened_by uuid references public.profiles (id) on delete set null,
  ticket_number integer not null,
  subject text not null,
  status text not null default 'open',
  priority smallint not null default 3,
  created_at timestamptz not null default now(),
  constraint support_tickets_number_key unique (organization_id, ticket_number)
);
create index support_tickets_customer_id_idx on public.support_tickets (customer_id);
create index support_tickets_opened_by_idx on public.support_tickets (opened_by);

-- shape: a child without organization_id
create table public.support_ticket_messages (
  id uuid primary key default gen_random_uuid(),
  ticket_id uuid not null references public.support_tickets (id) on delete cascade,
  author_id uuid references public.profiles (id) on delete set null,
  body text not null,
  is_internal boolean not null default false,
  attachment bytea,
  created_at timestamptz not null default now()
);
create index support_ticket_messages_ticket_id_idx on public.support_ticket_messages (ticket_id);
create index support_ticket_messages_author_id_idx on public.support_ticket_messages (author_id);

-- What was said on the telephone or at the counter.
create table public.customer_support (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  customer_id uuid not null references public.customers (id) on delete cascade,
  agent_id uuid references public.profiles (id) on delete set null,
  channel text not null default 'telephone',
  summary text not null,
  satisfaction real,
  talk_time interval,
  created_at timestamptz not null default now()
);
create index customer_support_organization_id_idx on public.customer_support (organization_id);
create index customer_support_customer_id_idx on public.customer_support (customer_id);
create index customer_support_agent_id_idx on public.customer_support (agent_id);

create table public.user_invites (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  email text not null,
  role text not null default 'member'
    constraint user_invites_role_check check (role in ('owner', 'admin', 'member')),
  invited_by uuid references public.profiles (id) on delete set null,
  token_digest bytea not null,
  expires_at timestamptz not null,
  accepted_at timestamptz
);
create index user_invites_organization_id_idx on public.user_invites (organization_id);
create index user_invites_invited_by_idx on public.user_invites (invited_by);
-- shape: a partial unique index over two columns (one open invitation per address)
create unique index user_invites_one_open_per_email on public.user_invites (organization_id, email)
  where accepted_at is null;

create table public.organization_join_codes (
  code text primary key,
  organization_id uuid not null references public.organizations (id) on delete cascade,
  role text not null default 'member'
    constraint organization_join_codes_role_check check (role in ('admin', 'member')),
  uses_left smallint,
  is_active boolean not null default true,
  expires_at timestamptz not null default 'infinity'
);
create index organization_join_codes_organization_id_idx
  on public.organization_join_codes (organization_id);

create table public.sales_orders (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  customer_id uuid not null references public.customers (id) on delete cascade,
  order_number bigint not null,
  status text not null default 'new',
  terms json,
  ordered_at timestamptz not null default now(),
  constraint sales_orders_number_key unique (organization_id, order_number)
);
create index sales_orders_customer_id_idx on public.sales_orders (customer_id);

-- shape: a child without organization_id, with a composite primary key
create table public.sales_order_items (
  sales_order_id uuid not null references public.sales_orders (id) on delete cascade,
  line_number smallint not null,
  description text not null,
  quantity integer not null default 1,
  unit_price public.money_amount not null,
  options text[],
  primary key (sales_order_id, line_number)
);

-- Some gases are only sold to people who prove who they are.
create table public.verification_requests (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  customer_id uuid not null references public.customers (id) on delete cascade,
  decided_by uuid references public.profiles (id) on delete set null,
  document_digest bytea,
  answers jsonb,
  decision text not null default 'pending',
  requested_at timestamptz not null default now()
);
create index verification_requests_organization_id_idx on public.verification_requests (organization_id);
create index verification_requests_customer_id_idx on public.verification_requests (customer_id);
create index verification_requests_decided_by_idx on public.verification_requests (decided_by);

-- shape: a grandchild, two steps away from organization_id, by a composite foreign key
create table public.verified_orders (
  id uuid primary key default gen_random_uuid(),
  sales_order_id uuid not null,
  line_number smallint not null,
  verification_request_id uuid references public.verification_requests (id) on delete set null,
  verified_at timestamptz not null default now(),
  valid_for interval not null default '1 year',
  constraint verified_orders_item_fkey foreign key (sales_order_id, line_number)
    references public.sales_order_items (sales_order_id, line_number) on delete cascade
);
create index verified_orders_item_idx on public.verified_orders (sales_order_id, line_number);
create index verified_orders_verification_request_id_idx
  on public.verified_orders (verification_request_id);

-- shape: a table whose name needs quoting. It stands beside the 24 tables that the product was
-- first written for, because none of those may be renamed.
create table public."Price List 2025" (
  organization_id uuid not null references public.organizations (id) on delete cascade,
  "Article No." text not null,
  "Net Price (€)" numeric(12, 4) not null,
  "Size ""L""" text,
  "order" integer not null default 0,
  primary key (organization_id, "Article No.")
);
