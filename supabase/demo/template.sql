-- The demonstration's template tenant: what every new organization starts with. Nobody works in it. Run as
-- `postgres`, once; `npm start` loads it, and tests that are about defaults.

insert into public.organizations (id, name, slug, plan, country)
values ('a0000000-0000-4000-8000-000000000000', 'Defaults for new organizations', 'defaults', 'standard', 'US');

insert into public.gas_types
  (organization_id, code, name, un_number, hazard_classes, density_kg_per_m3, inspection_interval)
select 'a0000000-0000-4000-8000-000000000000', gas.*
from (values
  ('O2', 'Oxygen', 'UN1072', '{2.2,5.1}'::text[], 1.42900, interval '10 years'),
  ('AR', 'Argon', 'UN1006', '{2.2}', 1.78400, '10 years'),
  ('CO2', 'Carbon dioxide', 'UN1013', '{2.2}', 1.97700, '10 years'),
  ('N2', 'Nitrogen', 'UN1066', '{2.2}', 1.25060, '10 years'),
  ('HE', 'Helium', 'UN1046', '{2.2}', 0.17860, '10 years'),
  ('C2H2', 'Acetylene', 'UN1001', '{2.1}', 1.10900, '5 years'),
  ('H2', 'Hydrogen', 'UN1049', '{2.1}', 0.08988, '10 years'),
  ('MIX-18', 'Argon with 18 % CO₂', 'UN1956', '{2.2}', 1.81900, '10 years')
) as gas (code, name, un_number, hazard_classes, density_kg_per_m3, inspection_interval);

insert into public.locations (id, organization_id, name, kind, opening_hours)
select location.id::uuid, 'a0000000-0000-4000-8000-000000000000', location.name, location.kind,
  location.opening_hours::json
from (values
  ('d0000000-0000-4000-8000-000000000001', 'Main yard', 'yard', '{"mon-fri": "07:00-17:00", "sat": null}'),
  ('d0000000-0000-4000-8000-000000000002', 'Counter', 'counter', '{"mon-fri": "08:00-16:30", "sat": "09:00-12:00"}'),
  ('d0000000-0000-4000-8000-000000000003', 'Delivery truck', 'truck', null)
) as location (id, name, kind, opening_hours);

insert into public."Price List 2025" (organization_id, "Article No.", "Net Price (€)", "Size ""L""", "order")
select 'a0000000-0000-4000-8000-000000000000', article.*
from (values
  ('O2-10', 21.5000, '10', 1), ('O2-20', 34.0000, '20', 2), ('O2-50', 58.9000, '50', 3),
  ('AR-10', 39.0000, '10', 4), ('AR-20', 62.5000, '20', 5), ('MIX-18-20', 64.0000, '20', 6),
  ('CO2-10', 18.9000, '10', 7), ('C2H2-20', 71.0000, '20', 8), ('HE-10', 98.0000, '10', 9),
  ('RENT-DAY', 0.4200, null, 10), ('RENT-YEAR', 96.0000, null, 11), ('DELIVERY', 14.5000, null, 12)
) as article;

-- The second is a branch of the first: a reference that has to lead to the copy.
insert into public.customers (id, organization_id, customer_number, name, parent_customer_id, tags, credit_limit)
values
  ('d0000000-0000-4000-8000-000000000011', 'a0000000-0000-4000-8000-000000000000',
   'WALK-IN', 'Walk-in customers', null, '{counter}', 0),
  ('d0000000-0000-4000-8000-000000000012', 'a0000000-0000-4000-8000-000000000000',
   'WALK-IN-TRADE', 'Walk-in customers, trade', 'd0000000-0000-4000-8000-000000000011', '{counter,trade}', 500);

insert into public.sales_orders (id, organization_id, customer_id, order_number, status, terms)
values ('d0000000-0000-4000-8000-000000000021', 'a0000000-0000-4000-8000-000000000000',
  'd0000000-0000-4000-8000-000000000011', 900001, 'template', '{"payment": "cash", "deposit": true}');

insert into public.sales_order_items (sales_order_id, line_number, description, quantity, unit_price, options)
values
  ('d0000000-0000-4000-8000-000000000021', 1, 'Starter package: cylinder of 10 l', 1, 39.00, '{welding}'),
  ('d0000000-0000-4000-8000-000000000021', 2, 'Pressure regulator', 1, 54.90, null),
  ('d0000000-0000-4000-8000-000000000021', 3, 'Deposit', 1, 120.00, '{refundable}');
