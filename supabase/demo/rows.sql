-- The rows of the demonstration, one statement per table for all tenants at once. generate.ts has put
-- one row per tenant into pg_temp.demo_plan: who it is, its salts, how many rows each table gets.
-- Nothing here depends on the clock, on chance or on the session: row n of a table is a function of
-- seed, tenant and n. The first few rows of each table carry the values that are hard to copy.

set local timezone = 'UTC';
set local datestyle = 'ISO, MDY';
set local intervalstyle = 'postgres';

-- The id of row n; what refers to the row computes the same.
create function pg_temp.demo_id(kind text, key text, n bigint) returns uuid
  language sql immutable
as $$
  select overlay(overlay(md5(kind || key || n::text) placing '4' from 13) placing '8' from 17)::uuid
$$;

-- A number from 0 up to below `below`. This hash places rows in partitions, so Postgres keeps it the
-- same from version to version.
create function pg_temp.demo_pick(salt bigint, n bigint, below bigint) returns bigint
  language sql immutable
as $$ select abs(hashint8extended(n, salt) % below) $$;

create function pg_temp.demo_word(words text[], salt bigint, n bigint) returns text
  language sql immutable
as $$ select words[1 + abs(hashint8extended(n, salt) % cardinality(words))] $$;

-- The moment of row n of `total`, spread over two years, with microseconds. Stable, because adding to a
-- timestamptz is; called immutable, it could not be inlined.
create function pg_temp.demo_moment(salt bigint, n bigint, total bigint) returns timestamptz
  language sql stable
as $$
  select timestamptz '2024-01-01 06:00:00+00'
    + interval '1 microsecond' * (63072000000000 / total * n + abs(hashint8extended(n, salt) % 1000000))
$$;

create function pg_temp.demo_day(salt bigint, n bigint) returns date
  language sql immutable
as $$ select date '2024-01-01' + abs(hashint8extended(n, salt) % 700)::integer $$;

-- One of the tenant's three people, or nobody.
create function pg_temp.demo_person(people uuid[], salt bigint, n bigint) returns uuid
  language sql immutable
as $$ select people[1 + abs(hashint8extended(n, salt) % 4)] $$;

-- Sixteen texts that break careless programs; null for every later n.
create function pg_temp.demo_text(n bigint) returns text
  language sql immutable
as $$
  select (array[
    'It''s "quoted" and \back\slashed\',
    e'line one\nline two\r\n\ttabbed',
    '',
    '  blanks around  ',
    'Ünïcödé, 札幌, Ж, مرحبا, 🎈👩‍🚒',
    e'combining e\u0301, zero width\u200b, separator\u2028, override\u202e.',
    e'control characters \x01\x02\x1f\x7f',
    '\N',
    'NULL',
    '{"looks": "like json", "n": null}',
    '=1+1,"comma;semicolon"',
    '</script><b>&amp;</b>',
    '\u0000 and \x41, written out',
    repeat('a long note, ', 1000),
    e'\ufeffmark at the start, replacement \ufffd',
    '%s %I $1 ${x} {{y}}'
  ])[n::integer]
$$;

-- Tenants and people with every constraint on: a person who is not in auth.users is refused.
insert into public.organizations (id, name, slug, plan, country, settings, created_at)
select p.organization_id, p.name, p.slug, p.plan, p.country,
  jsonb_build_object('currency', 'EUR', 'fiscal_year_start', 1 + p.number % 12, 'logo', null),
  timestamptz '2023-03-01 09:00:00.000001+00' + p.number * interval '1 day 1 microsecond'
from pg_temp.demo_plan p;

insert into public.profiles
  (id, organization_id, email, full_name, role, notification_channels, created_at)
select person.id, p.organization_id, person.email, person.full_name, person.role,
  case person.role when 'owner' then '{email,"text message"}' when 'admin' then '{}' else '{email,NULL}' end::text[],
  timestamptz '2023-03-02 09:00:00.123456+00'
from pg_temp.demo_plan p
cross join json_to_recordset(p.people)
  as person (id uuid, email text, full_name text, role text);

-- The rest as a restore of a dump would load it: no triggers, so that nothing is logged and loading is
-- fast. That all foreign keys hold is tested.
set local session_replication_role = replica;

insert into public.locations
  (id, organization_id, name, kind, address, coordinates, opening_hours, created_at)
select pg_temp.demo_id('location', p.key, n), p.organization_id,
  case n when 1 then 'Main yard' when 2 then 'Counter "West"' else 'Depot ' || n end,
  case n % 3 when 1 then 'yard' when 2 then 'counter' else 'truck' end,
  case when n % 4 > 0 then n || ' Harbour Road' end,
  case n
    when 1 then array[53.86893, 10.68729]
    when 2 then '{NaN,-Infinity}'
    when 3 then null
    else array[pg_temp.demo_pick(p.salt + 1, n, 180000) / 1000.0 - 90, n / 3.0]
  end,
  case n
    -- Line breaks, an order of keys, a key twice: `json` keeps all of it.
    when 1 then e'{ "sat": null,\n  "mon": "08:00",\n  "mon": "07:30" }'::json
    when 2 then 'null'::json
    when 3 then null
    else json_build_object('mon', '08:00', 'fri', '08:00', 'note', 'ring "twice"')
  end,
  pg_temp.demo_moment(p.salt + 2, n, p.locations)
from pg_temp.demo_plan p, generate_series(1, p.locations) n;

insert into public.gas_types
  (organization_id, code, name, un_number, hazard_classes, density_kg_per_m3, inspection_interval, created_at)
select p.organization_id,
  case when n <= 8 then (array['O2', 'AR', 'CO2', 'N2', 'HE', 'C2H2', 'H2', 'N2O'])[n] else 'MIX-' || n end,
  case when n <= 8
    then (array['Oxygen', 'Argon', 'Carbon dioxide', 'Nitrogen', 'Helium', 'Acetylene', 'Hydrogen', 'Nitrous oxide'])[n]
    else 'Mixture ' || n
  end,
  'UN' || (1000 + n),
  case n when 1 then '{2.2,5.1}' when 2 then '{}' else '{2.2,NULL}' end::text[],
  1.42899999999999999999 + n,
  case n
    when 1 then interval '10 years'
    when 2 then interval '1 mon -3 days 04:05:06.000007'
    when 3 then interval '-1 year -2 mons +3 days -00:00:00.000001'
    else interval '5 years'
  end,
  pg_temp.demo_moment(p.salt + 3, n, p.gas_types)
from pg_temp.demo_plan p, generate_series(1, p.gas_types) n;

insert into public.customers
  (id, organization_id, customer_number, name, parent_customer_id, "VAT No.", billing_address, tags,
   contact, credit_limit, balance, notes, created_at, updated_at)
select pg_temp.demo_id('customer', p.key, n), p.organization_id, 'C-' || lpad(n::text, 6, '0'),
  pg_temp.demo_word(p.first_names, p.salt + 10, n) || ' ' || pg_temp.demo_word(p.last_names, p.salt + 11, n)
    || case when n > 40 then ' ' || n else '' end,
  -- Every fifth is a branch of one that stands before it, some of a branch.
  case when n % 5 = 0 then pg_temp.demo_id('customer', p.key, n - 1 - pg_temp.demo_pick(p.salt + 12, n, 4)) end,
  case when n % 3 > 0 then p.country || (100000000 + pg_temp.demo_pick(p.salt + 13, n, 900000000)) end,
  case when n % 7 > 0 then pg_temp.demo_pick(p.salt + 14, n, 300) || e' Main Street\n' || p.country end,
  case n
    when 1 then array['comma, inside', 'quote "', 'back\slash', null, '', 'NULL', '{}']
    when 2 then '{}'
    when 3 then '[5:6]={first,second}'::text[]
    else array[(array['welding', 'medical', 'brewery', 'party', 'laboratory'])[1 + n % 5]]
  end,
  case n % 5
    when 0 then null
    when 1 then 'null'::jsonb
    when 2 then '{"phones": [], "fax": null, "score": 12345678901234567890.123456789}'::jsonb
    when 3 then '"only a name"'::jsonb
    else jsonb_build_object('email', 'office-' || n || '@customer.example', 'vip', n % 2 = 0)
  end,
  case when n % 4 > 0 then pg_temp.demo_pick(p.salt + 15, n, 5000000) / 100.0 end,
  case n
    when 1 then 12345678901234567890123456789.000000000000000000001
    when 2 then 'NaN'::numeric
    when 3 then 'Infinity'::numeric
    when 4 then -0.000000000000000000000000000001
    when 5 then 100.00
    when 6 then 100
    else pg_temp.demo_pick(p.salt + 16, n, 1000000) / 100.0
  end,
  pg_temp.demo_text(n),
  pg_temp.demo_moment(p.salt + 17, n, p.customers),
  pg_temp.demo_moment(p.salt + 18, n, p.customers) + interval '8 hours'
from pg_temp.demo_plan p, generate_series(1, p.customers) n;

-- Rental n is of bottle n while there are bottles, and of any bottle after that. Only the former may
-- still be open, so that no bottle is out twice.
create function pg_temp.demo_is_open(salt bigint, n bigint, bottles bigint, rentals bigint) returns boolean
  language sql immutable
as $$
  select n <= bottles and n <= rentals and (n = 1 or n <> 2 and abs(hashint8extended(n, salt + 20) % 10) < 5)
$$;

insert into public.bottles
  (id, organization_id, barcode, gas_code, location_id, current_rental_id, status, capacity_litres,
   chip_number, last_inspected_on, created_at, updated_at)
select pg_temp.demo_id('bottle', p.key, n), p.organization_id, 'BTL-' || lpad(n::text, 8, '0'),
  p.gas_codes[1 + pg_temp.demo_pick(p.salt + 21, n, cardinality(p.gas_codes))],
  case when not is_open and n % 6 > 0
    then pg_temp.demo_id('location', p.key, 1 + pg_temp.demo_pick(p.salt + 22, n, p.locations)) end,
  case when is_open then pg_temp.demo_id('rental', p.key, n) end,
  case when is_open then 'rented'
    else (array['in stock', 'filled', 'in service', 'lost', 'scrapped'])[1 + pg_temp.demo_pick(p.salt + 23, n, 5)]
  end::public.bottle_status,
  (array[2, 10, 20, 40.7, 50])[1 + pg_temp.demo_pick(p.salt + 24, n, 5)],
  case
    when n = 1 then 9007199254740993
    when n = 2 then 9223372036854775807
    when n % 5 > 0 then 9007199254740993 + pg_temp.demo_pick(p.salt + 25, n, 1000000000000000000)
  end,
  case when n % 8 > 0 then pg_temp.demo_day(p.salt + 26, n) end,
  pg_temp.demo_moment(p.salt + 27, n, p.bottles),
  pg_temp.demo_moment(p.salt + 28, n, p.bottles) + interval '3 hours'
from pg_temp.demo_plan p, generate_series(1, p.bottles) n,
  lateral (select pg_temp.demo_is_open(p.salt, n, p.bottles, p.rentals) as is_open) rented;

insert into public.rentals
  (id, organization_id, customer_id, bottle_id, started_on, ended_on, daily_rate, deposit, contract_until, created_at)
select pg_temp.demo_id('rental', p.key, n), p.organization_id,
  pg_temp.demo_id('customer', p.key, 1 + pg_temp.demo_pick(p.salt + 30, n, p.customers)),
  pg_temp.demo_id('bottle', p.key, 1 + (n - 1) % p.bottles),
  pg_temp.demo_day(p.salt + 31, n),
  case when not pg_temp.demo_is_open(p.salt, n, p.bottles, p.rentals)
    then pg_temp.demo_day(p.salt + 31, n) + pg_temp.demo_pick(p.salt + 32, n, 200)::integer end,
  0.25 + pg_temp.demo_pick(p.salt + 33, n, 400) / 100.0,
  case when n % 3 > 0 then 50 * (1 + n % 4) end,
  case
    when n = 2 then '-infinity'::timestamptz
    when n % 3 = 1 then 'infinity'::timestamptz
    else pg_temp.demo_moment(p.salt + 34, n, p.rentals) + interval '26280 hours'
  end,
  pg_temp.demo_moment(p.salt + 35, n, p.rentals)
from pg_temp.demo_plan p, generate_series(1, p.rentals) n;

insert into public.rental_invoices
  (id, organization_id, customer_id, invoice_number, status, issued_on, due_on, net_amount, tax_amount, payment, created_at)
select pg_temp.demo_id('invoice', p.key, n), p.organization_id,
  pg_temp.demo_id('customer', p.key, 1 + pg_temp.demo_pick(p.salt + 40, n, p.customers)),
  'INV-' || lpad(n::text, 7, '0'),
  (array['draft', 'sent', 'paid', 'paid', 'void'])[1 + pg_temp.demo_pick(p.salt + 41, n, 5)],
  pg_temp.demo_day(p.salt + 42, n),
  pg_temp.demo_day(p.salt + 42, n) + 30,
  case n when 1 then 123456789012.34 else pg_temp.demo_pick(p.salt + 43, n, 500000) / 100.0 end,
  pg_temp.demo_pick(p.salt + 44, n, 90000) / 100.0,
  case n % 4
    when 0 then null
    when 1 then 'null'::jsonb
    when 2 then jsonb_build_object('method', 'card', 'reference', 'R' || n, 'parts', jsonb_build_array(1, null, 'x'))
    else '{"method": "cash"}'::jsonb
  end,
  pg_temp.demo_moment(p.salt + 45, n, p.rental_invoices)
from pg_temp.demo_plan p, generate_series(1, p.rental_invoices) n;

insert into public.invoice_line_items
  (id, invoice_id, rental_id, position, description, quantity, unit_price)
select pg_temp.demo_id('line', p.key, n),
  pg_temp.demo_id('invoice', p.key, 1 + (n - 1) % p.rental_invoices),
  case when n % 5 > 0 then pg_temp.demo_id('rental', p.key, 1 + pg_temp.demo_pick(p.salt + 50, n, p.rentals)) end,
  1 + (n - 1) / p.rental_invoices,
  case n
    when 1 then 'Rental of "20 l" \ month'
    else 'Rental, ' || (1 + n % 31) || ' days'
  end,
  1 + pg_temp.demo_pick(p.salt + 51, n, 31000) / 1000.0,
  case n
    when 1 then 123456789012345678.12345678901234567890
    when 2 then 0.00000000000000000001
    else pg_temp.demo_pick(p.salt + 52, n, 100000) / 300.0
  end
from pg_temp.demo_plan p, generate_series(1, p.invoice_line_items) n;

insert into public.deliveries
  (id, organization_id, customer_id, driver_id, from_location_id, scheduled_for, time_window, bottle_ids, stops, signature, delivered_at)
select pg_temp.demo_id('delivery', p.key, n), p.organization_id,
  pg_temp.demo_id('customer', p.key, 1 + pg_temp.demo_pick(p.salt + 60, n, p.customers)),
  pg_temp.demo_person(p.person_ids, p.salt + 61, n),
  case when n % 4 > 0 then pg_temp.demo_id('location', p.key, 1 + pg_temp.demo_pick(p.salt + 62, n, p.locations)) end,
  pg_temp.demo_moment(p.salt + 63, n, p.deliveries),
  case n
    when 1 then interval '1 day -00:00:00.5'
    when 2 then interval '0'
    else interval '1 hour' * (1 + n % 4)
  end,
  case when n = 2 then '{}' else array[
    pg_temp.demo_id('bottle', p.key, 1 + pg_temp.demo_pick(p.salt + 64, n, p.bottles)),
    pg_temp.demo_id('bottle', p.key, 1 + pg_temp.demo_pick(p.salt + 65, n, p.bottles))
  ] end,
  case
    when n = 1 then '{{"Gate \"B\"","back\\slash"},{NULL,""}}'::text[]
    when n = 2 then '[0:1][3:3]={{first},{second}}'::text[]
    when n % 3 = 0 then null
    else array[array['Yard', '08:00'], array['Customer', '09:30']]
  end,
  case
    when n = 1 then '\x'::bytea
    when n = 2 then '\x00ff5c2722010a0d'::bytea
    when n % 3 > 0 then decode(md5(p.key || n), 'hex')
  end,
  case when n % 5 > 0 then pg_temp.demo_moment(p.salt + 66, n, p.deliveries) + interval '7 hours' end
from pg_temp.demo_plan p, generate_series(1, p.deliveries) n;

insert into public.cylinder_fills
  (id, organization_id, bottle_id, gas_code, filled_by, filled_at, volume_litres, pressure_bar, purity)
select p.fills_before + n, p.organization_id,
  pg_temp.demo_id('bottle', p.key, 1 + pg_temp.demo_pick(p.salt + 70, n, p.bottles)),
  p.gas_codes[1 + pg_temp.demo_pick(p.salt + 71, n, cardinality(p.gas_codes))],
  pg_temp.demo_person(p.person_ids, p.salt + 72, n),
  pg_temp.demo_moment(p.salt + 73, n, p.cylinder_fills),
  case n
    when 1 then 'NaN'
    when 2 then '-Infinity'
    when 3 then '-0'
    when 4 then 5e-324
    when 5 then null
    else 40 + pg_temp.demo_pick(p.salt + 74, n, 100000) / 7.0::double precision
  end,
  case n when 1 then '3.4028235e+38' when 2 then null else 200 + pg_temp.demo_pick(p.salt + 75, n, 1000) / 3.0::real end,
  0.99999000000000000001 - n % 9 * 0.00000000000000000100
from pg_temp.demo_plan p, generate_series(1, p.cylinder_fills) n;

insert into public.bottle_scans
  (id, organization_id, bottle_id, location_id, scanned_by, scanned_at, action, device_serial, reading, note)
overriding system value
select p.scans_before + n, p.organization_id,
  pg_temp.demo_id('bottle', p.key, 1 + pg_temp.demo_pick(p.salt + 80, n, p.bottles)),
  case when n % 3 > 0 then pg_temp.demo_id('location', p.key, 1 + pg_temp.demo_pick(p.salt + 81, n, p.locations)) end,
  pg_temp.demo_person(p.person_ids, p.salt + 82, n),
  case n
    when 1 then 'infinity'::timestamptz
    when 2 then '-infinity'::timestamptz
    else pg_temp.demo_moment(p.salt + 83, n, p.bottle_scans)
  end,
  (array['seen', 'filled', 'handed out', 'returned'])[1 + pg_temp.demo_pick(p.salt + 84, n, 4)],
  case n
    when 1 then 9223372036854775807
    when 2 then -9223372036854775808
    else 9007199254740993 + pg_temp.demo_pick(p.salt + 85, n, 4000)
  end,
  case
    when n % 8 = 1 then 'null'::jsonb
    when n % 2 = 0 then null
    else jsonb_build_object('pressure', pg_temp.demo_pick(p.salt + 86, n, 20000) / 100.0, 'leak', null, 'by', 'scanner')
  end,
  coalesce(pg_temp.demo_text(n), case when n % 10 = 0 then 'label worn, read by hand' end)
from pg_temp.demo_plan p, generate_series(1, p.bottle_scans) n;

-- No key: the first two rows of every tenant are equal.
insert into public.ownership_values (organization_id, bottle_id, owner_kind, value, valued_on)
select p.organization_id,
  case when m % 6 > 0 then pg_temp.demo_id('bottle', p.key, 1 + pg_temp.demo_pick(p.salt + 90, m, p.bottles)) end,
  case when m % 2 = 0 then 'customer' else 'our own' end,
  case when m % 4 > 0 then 80 + pg_temp.demo_pick(p.salt + 91, m, 40000) / 100.0 end,
  pg_temp.demo_day(p.salt + 92, m)
from pg_temp.demo_plan p, generate_series(1, p.ownership_values) n,
  lateral (select greatest(n, 2) as m) twin;

insert into public.notifications (id, organization_id, recipient_id, title, body, data, read_at, created_at)
select pg_temp.demo_id('notification', p.key, n), p.organization_id,
  p.person_ids[1 + pg_temp.demo_pick(p.salt + 100, n, 3)],
  (array['Inspection due', 'Bottle overdue', 'Invoice paid', 'New ticket'])[1 + n % 4],
  coalesce(pg_temp.demo_text(n), 'Bottle ' || n || ' needs attention.'),
  case n % 3 when 0 then null when 1 then 'null'::jsonb else jsonb_build_object('n', n) end,
  case when n % 2 = 0 then pg_temp.demo_moment(p.salt + 101, n, p.notifications) + interval '5 hours' end,
  pg_temp.demo_moment(p.salt + 101, n, p.notifications)
from pg_temp.demo_plan p, generate_series(1, p.notifications) n;

insert into public.audit_logs
  (id, organization_id, actor_id, table_name, record_id, action, old_record, new_record, happened_at)
overriding system value
select p.logs_before + n, p.organization_id,
  pg_temp.demo_person(p.person_ids, p.salt + 110, n),
  'customers',
  pg_temp.demo_id('customer', p.key, 1 + pg_temp.demo_pick(p.salt + 111, n, p.customers))::text,
  case n % 3 when 0 then 'insert' when 1 then 'update' else 'delete' end,
  case when n % 3 > 0 then jsonb_build_object('credit_limit', pg_temp.demo_pick(p.salt + 112, n, 9000), 'notes', null) end,
  case when n % 3 < 2 then jsonb_build_object('credit_limit', pg_temp.demo_pick(p.salt + 113, n, 9000), 'notes', pg_temp.demo_text(n)) end,
  pg_temp.demo_moment(p.salt + 114, n, p.audit_logs)
from pg_temp.demo_plan p, generate_series(1, p.audit_logs) n;

insert into public.support_tickets
  (id, organization_id, customer_id, opened_by, ticket_number, subject, status, priority, created_at)
select pg_temp.demo_id('ticket', p.key, n), p.organization_id,
  case when n % 5 > 0 then pg_temp.demo_id('customer', p.key, 1 + pg_temp.demo_pick(p.salt + 120, n, p.customers)) end,
  pg_temp.demo_person(p.person_ids, p.salt + 121, n),
  n,
  (array['Valve does not close', 'Wrong gas delivered', 'Invoice question', 'Lost bottle'])[1 + n % 4],
  case when n % 3 = 0 then 'closed' else 'open' end,
  1 + n % 5,
  pg_temp.demo_moment(p.salt + 122, n, p.support_tickets)
from pg_temp.demo_plan p, generate_series(1, p.support_tickets) n;

insert into public.support_ticket_messages (id, ticket_id, author_id, body, is_internal, attachment, created_at)
select pg_temp.demo_id('message', p.key, n),
  pg_temp.demo_id('ticket', p.key, 1 + (n - 1) % p.support_tickets),
  pg_temp.demo_person(p.person_ids, p.salt + 130, n),
  coalesce(pg_temp.demo_text(n), 'Message ' || n || ': we are looking into it.'),
  n % 4 = 0,
  case n when 1 then '\xdeadbeef00'::bytea when 2 then ''::bytea end,
  pg_temp.demo_moment(p.salt + 131, n, p.support_ticket_messages)
from pg_temp.demo_plan p, generate_series(1, p.support_ticket_messages) n;

insert into public.customer_support
  (id, organization_id, customer_id, agent_id, channel, summary, satisfaction, talk_time, created_at)
select pg_temp.demo_id('call', p.key, n), p.organization_id,
  pg_temp.demo_id('customer', p.key, 1 + pg_temp.demo_pick(p.salt + 140, n, p.customers)),
  pg_temp.demo_person(p.person_ids, p.salt + 141, n),
  case when n % 2 = 0 then 'counter' else 'telephone' end,
  'Asked about delivery ' || n,
  case when n % 3 > 0 then 1 + pg_temp.demo_pick(p.salt + 142, n, 400) / 100.0 end,
  case when n % 2 = 1 then interval '1 microsecond' * pg_temp.demo_pick(p.salt + 143, n, 3600000000) end,
  pg_temp.demo_moment(p.salt + 144, n, p.customer_support)
from pg_temp.demo_plan p, generate_series(1, p.customer_support) n;

-- The second and third invite the same address: one was taken, one is open.
insert into public.user_invites
  (id, organization_id, email, role, invited_by, token_digest, expires_at, accepted_at)
select pg_temp.demo_id('invite', p.key, n), p.organization_id,
  'new-' || greatest(n, 3) - case when n = 1 then 2 else 0 end || '@' || p.slug || '.example',
  case when n % 4 = 0 then 'admin' else 'member' end,
  pg_temp.demo_person(p.person_ids, p.salt + 150, n),
  sha256(convert_to(p.key || n, 'UTF8')),
  case n when 1 then 'infinity' else pg_temp.demo_moment(p.salt + 151, n, p.user_invites) + interval '168 hours' end,
  case when n = 2 or n > 3 and n % 2 = 0 then pg_temp.demo_moment(p.salt + 151, n, p.user_invites) + interval '2 hours' end
from pg_temp.demo_plan p, generate_series(1, p.user_invites) n;

insert into public.organization_join_codes (code, organization_id, role, uses_left, is_active, expires_at)
select upper(p.slug) || '-' || upper(left(md5(p.key || 'code' || n), 8)), p.organization_id,
  case when n % 3 = 0 then 'admin' else 'member' end,
  case when n % 2 = 0 then 5 * n end,
  n % 4 > 0,
  case when n = 1 then 'infinity' else pg_temp.demo_moment(p.salt + 160, n, p.organization_join_codes) end
from pg_temp.demo_plan p, generate_series(1, p.organization_join_codes) n;

insert into public.sales_orders (id, organization_id, customer_id, order_number, status, terms, ordered_at)
select pg_temp.demo_id('order', p.key, n), p.organization_id,
  pg_temp.demo_id('customer', p.key, 1 + pg_temp.demo_pick(p.salt + 170, n, p.customers)),
  202400000000 + n,
  (array['new', 'packed', 'shipped', 'cancelled'])[1 + pg_temp.demo_pick(p.salt + 171, n, 4)],
  case n
    when 1 then e'{"net": 30,\r\n "net": 14,\t"discount": 1.50}'::json
    when 2 then 'null'::json
    when 3 then null
    else '{"net": 30}'::json
  end,
  pg_temp.demo_moment(p.salt + 172, n, p.sales_orders)
from pg_temp.demo_plan p, generate_series(1, p.sales_orders) n;

insert into public.sales_order_items (sales_order_id, line_number, description, quantity, unit_price, options)
select pg_temp.demo_id('order', p.key, 1 + (n - 1) % p.sales_orders), 1 + (n - 1) / p.sales_orders,
  coalesce(pg_temp.demo_text(n), 'Regulator, model ' || n % 50),
  1 + pg_temp.demo_pick(p.salt + 180, n, 12),
  pg_temp.demo_pick(p.salt + 181, n, 30000) / 100.0,
  case n % 3 when 0 then null when 1 then '{}' else array['gift wrap', 'size "L"'] end
from pg_temp.demo_plan p, generate_series(1, p.sales_order_items) n;

insert into public.verification_requests
  (id, organization_id, customer_id, decided_by, document_digest, answers, decision, requested_at)
select pg_temp.demo_id('verification', p.key, n), p.organization_id,
  pg_temp.demo_id('customer', p.key, 1 + pg_temp.demo_pick(p.salt + 190, n, p.customers)),
  pg_temp.demo_person(p.person_ids, p.salt + 191, n),
  case when n % 2 = 1 then sha256(convert_to(p.key || 'document' || n, 'UTF8')) end,
  case n % 4 when 0 then null when 1 then 'null'::jsonb else jsonb_build_object('adult', true, 'purpose', 'welding') end,
  (array['pending', 'granted', 'refused'])[1 + n % 3],
  pg_temp.demo_moment(p.salt + 192, n, p.verification_requests)
from pg_temp.demo_plan p, generate_series(1, p.verification_requests) n;

insert into public.verified_orders
  (id, sales_order_id, line_number, verification_request_id, verified_at, valid_for)
select pg_temp.demo_id('verified', p.key, n),
  pg_temp.demo_id('order', p.key, 1 + (n - 1) % p.sales_orders), 1 + (n - 1) / p.sales_orders,
  case when n % 3 > 0
    then pg_temp.demo_id('verification', p.key, 1 + pg_temp.demo_pick(p.salt + 200, n, p.verification_requests)) end,
  pg_temp.demo_moment(p.salt + 201, n, p.verified_orders),
  case n when 1 then interval '1 year 2 mons 3 days 04:05:06.789' else interval '1 year' end
from pg_temp.demo_plan p, generate_series(1, p.verified_orders) n;

insert into public."Price List 2025"
  (organization_id, "Article No.", "Net Price (€)", "Size ""L""", "order")
select p.organization_id,
  case n when 1 then 'A "quoted" article' when 2 then 'back\slash' else 'ART-' || lpad(n::text, 5, '0') end,
  pg_temp.demo_pick(p.salt + 210, n, 99999999) / 10000.0,
  case when n % 2 = 1 then (n * 5) || ' l' end,
  n
from pg_temp.demo_plan p, generate_series(1, p."Price List 2025") n;

set local session_replication_role = origin;

-- Ids were given by us: raise the counters past them, so that the application can go on.
select setval('public.cylinder_fills_id_seq', (select max(id) from public.cylinder_fills)),
  setval('public.bottle_scans_id_seq', (select max(id) from public.bottle_scans)),
  setval('public.audit_logs_id_seq', (select max(id) from public.audit_logs));

drop function pg_temp.demo_id, pg_temp.demo_pick, pg_temp.demo_word, pg_temp.demo_moment,
  pg_temp.demo_day, pg_temp.demo_person, pg_temp.demo_text, pg_temp.demo_is_open;
drop table pg_temp.demo_plan;
