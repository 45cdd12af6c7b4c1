import type { ProtectionOptions } from '../../src/core/tables/initialise-protection.ts'

/** A host with every shape mixed, the same for the same numbers. */
export interface GeneratedSchema {
  sql: string
  options: ProtectionOptions
  tenants: readonly [string, string]
  /** By label of every table of tenants: a condition on its row `t`, with the tenant's id in `$1`. */
  owns: Record<string, string>
  /** One label of each shape. */
  samples: string[]
}

const A = 'aaaaaaaa-0000-4000-8000-000000000000'
const B = 'bbbbbbbb-0000-4000-8000-000000000000'
const C = 'cccccccc-0000-4000-8000-000000000000'

interface Made {
  label: string
  relation: string
  bare: string
  owns: string
  /** Steps to the tenant. */
  depth: number
}

type Shape = (make: Maker) => void

/** In this order they come round, so that every shape finds owners of its kind. */
const SHAPES: Record<string, Shape> = {
  direct: (make) => makeDirect(make, 'tenant_id'),
  'a second spelling': (make) => makeDirect(make, 'tenantId'),
  'one owner': makeChild,
  'a nullable tenant column': makeNullableTenant,
  'two owners that are never null': makeTwoOwners,
  'two owners that may be null': makeNullableOwners,
  'a key of two columns': makeComposite,
  'no foreign key, uuid': (make) => makeKeyless(make, 'uuid'),
  'no foreign key, text': (make) => makeKeyless(make, 'text'),
  'a pair of type and id': makeTypePair,
  'owned backwards': makeBackward,
  partitioned: makePartitioned,
  inherited: makeInherited,
  'without a key': makeUnkeyed,
  'a cycle': makeCycle,
  'types of its own': makeTyped,
  'policies of the host': makeWithPolicies,
  'one owner again': makeChild,
  'a lookup': makeLookup,
  'left behind': makeLeftBehind,
}

/** `tables`: how many, the tenant table among them; partitions and views come on top. */
export function generateSchema({
  tables,
  seed,
}: {
  tables: number
  seed: number
}): GeneratedSchema {
  const make = new Maker(seed)
  const samples = new Set<string>()
  make.run(`
    create schema "Other Schema";
    create type mood as enum ('fine', 'so so');
    create domain short as varchar(40) check (length(value) < 40);
    create table tenants (id uuid primary key, name text);
    insert into tenants values ('${A}', 'Anna'), ('${B}', 'Bert'), ('${C}', 'Cem');`)
  make.count = 1
  make.owns.tenants = 't.id::text = $1'
  const shapes = Object.values(SHAPES)
  for (let turn = 0; make.count < tables; turn += 1) {
    const before = new Set(Object.keys(make.owns))
    shapes[turn % shapes.length]?.(make)
    if (turn < shapes.length) {
      for (const label of Object.keys(make.owns)) if (!before.has(label)) samples.add(label)
    }
  }
  return {
    sql: make.statements.join('\n'),
    options: {
      tenantTable: 'public.tenants',
      tenantColumns: ['tenant_id', 'tenantId'],
      schemas: ['public', 'Other Schema'],
    },
    tenants: [A, B],
    owns: make.owns,
    samples: ['tenants', ...samples],
  }
}

class Maker {
  readonly statements: string[] = []
  readonly owns: Record<string, string> = {}
  /** Tables with a uuid `id`, in which rows of all tenants are. */
  readonly owners: Made[] = []
  count = 0
  private state: number

  constructor(seed: number) {
    this.state = seed
  }

  run(sql: string): void {
    this.statements.push(sql)
  }

  /** Below `limit`. */
  random(limit: number): number {
    this.state = (Math.imul(this.state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((this.state / 2 ** 32) * limit)
  }

  /** A new name, now and then in the other schema or in need of quotes. */
  name(stem: string): Omit<Made, 'owns' | 'depth'> {
    this.count += 1
    const bare = this.count % 7 === 0 ? `${stem}Set_${this.count}` : `${stem}_${this.count}`
    const isElsewhere = this.count % 5 === 0
    return {
      bare,
      label: isElsewhere ? `Other Schema.${bare}` : bare,
      relation: `${isElsewhere ? '"Other Schema"' : 'public'}."${bare}"`,
    }
  }

  add(made: Made, isOwner = true): void {
    this.owns[made.label] = made.owns
    if (isOwner) this.owners.push(made)
  }

  /** An owner not too far from the tenant, most often a recent one. */
  owner(): Made {
    const near = this.owners.filter(({ depth }) => depth < 4)
    const found = near[near.length - 1 - this.random(Math.min(near.length, 25))]
    if (found === undefined) throw new Error('There is no owner yet.')
    return found
  }
}

/** The ids of an owner's rows that are the tenant's; its own `t` stands inside. */
function idsOf(owner: Made, column = 'id'): string {
  return `(select t."${column}" from only ${owner.relation} t where ${owner.owns})`
}

function idFrom(made: { bare: string }, ...from: string[]): string {
  return `md5(concat_ws('/', '${made.bare}', ${from.join(', ')}))::uuid`
}

function makeDirect(make: Maker, column: string): void {
  const made = make.name('items')
  make.run(`
    create table ${made.relation} (id uuid primary key, "${column}" uuid not null, n int);
    insert into ${made.relation} select ${idFrom(made, 'o.id', 'i')}, o.id, i
      from tenants o, generate_series(1, ${1 + make.random(3)}) i;`)
  make.add({ ...made, owns: `t."${column}"::text = $1`, depth: 1 })
}

function makeChild(make: Maker): void {
  const made = make.name('parts')
  const owner = make.owner()
  make.run(`
    create table ${made.relation} (id uuid primary key, "of" uuid not null references ${owner.relation}, body jsonb);
    insert into ${made.relation} select ${idFrom(made, 'o.id')}, o.id, '{"a": [1.0, null]}'
      from only ${owner.relation} o;`)
  make.add({ ...made, owns: `t."of" in ${idsOf(owner)}`, depth: owner.depth + 1 })
}

function makeNullableTenant(make: Maker): void {
  const made = make.name('forms')
  make.run(`
    create table ${made.relation} (id uuid primary key, tenant_id uuid references tenants);
    insert into ${made.relation} select ${idFrom(made, 'o.id')}, o.id from tenants o;
    insert into ${made.relation} values (${idFrom(made, `'global'`)}, null);`)
  make.add({ ...made, owns: 't.tenant_id::text = $1', depth: 1 })
}

function makeTwoOwners(make: Maker): void {
  const made = make.name('links')
  const [first, second] = [make.owner(), make.owner()]
  make.run(`
    create table ${made.relation} (id uuid primary key,
      home uuid not null references ${first.relation} on delete cascade,
      other uuid not null references ${second.relation});
    insert into ${made.relation} select ${idFrom(made, 'a.id')}, a.id, b.id
      from only ${first.relation} a, (select id from only ${second.relation} order by id limit 1) b;`)
  make.add({ ...made, owns: `t.home in ${idsOf(first)}`, depth: first.depth + 1 })
}

function makeNullableOwners(make: Maker): void {
  const made = make.name('pins')
  const [first, second] = [make.owner(), make.owner()]
  make.run(`
    create table ${made.relation} (id uuid primary key,
      home uuid references ${first.relation} on delete cascade, other uuid references ${second.relation});
    insert into ${made.relation} select ${idFrom(made, 'a.id')}, a.id, null from only ${first.relation} a;
    insert into ${made.relation} select ${idFrom(made, 'b.id', `'b'`)}, null, b.id from only ${second.relation} b;
    insert into ${made.relation} values (${idFrom(made, `'nobody'`)}, null, null);`)
  make.add({
    ...made,
    owns: `(t.home in ${idsOf(first)} or t.home is null and t.other in ${idsOf(second)})`,
    depth: Math.max(first.depth, second.depth) + 1,
  })
}

function makeComposite(make: Maker): void {
  const made = make.name('orders')
  make.run(`
    create table ${made.relation} (tenant_id uuid references tenants, "No." int, primary key (tenant_id, "No."));
    insert into ${made.relation} select o.id, i from tenants o, generate_series(1, 2) i;`)
  make.add({ ...made, owns: 't.tenant_id::text = $1', depth: 1 }, false)
  const lines = make.name('lines')
  make.run(`
    create table ${lines.relation} (id uuid primary key, who uuid not null, "order" int not null,
      foreign key (who, "order") references ${made.relation});
    insert into ${lines.relation} select ${idFrom(lines, 'o.tenant_id', 'o."No."')}, o.* from ${made.relation} o;`)
  make.add({ ...lines, owns: 't.who::text = $1', depth: 2 })
}

function makeKeyless(make: Maker, type: 'uuid' | 'text'): void {
  const made = make.name('hints')
  const owner = make.owner()
  make.run(`
    create table ${made.relation} (id uuid primary key, "${owner.bare}_id" ${type}, seen uuid[]);
    insert into ${made.relation} select ${idFrom(made, 'o.id')}, o.id, array[o.id] from only ${owner.relation} o;
    insert into ${made.relation} values (${idFrom(made, `'nobody'`)}, null, '{}');`)
  make.add(
    { ...made, owns: `t."${owner.bare}_id"::uuid in ${idsOf(owner)}`, depth: owner.depth + 1 },
    false,
  )
}

function makeTypePair(make: Maker): void {
  const made = make.name('remarks')
  const [first, second] = [make.owner(), make.owner()]
  const both = first === second ? [first] : [first, second]
  make.run(
    `create table ${made.relation} (id uuid primary key, subject_type text, subject_id uuid);`,
  )
  for (const owner of both) {
    make.run(`insert into ${made.relation} select ${idFrom(made, `'${owner.bare}'`, 'o.id')}, '${owner.bare}', o.id
      from only ${owner.relation} o;`)
  }
  const owns = both.map(
    (owner) => `t.subject_type = '${owner.bare}' and t.subject_id in ${idsOf(owner)}`,
  )
  make.add({ ...made, owns: `(${owns.join(' or ')})`, depth: 5 }, false)
}

function makeBackward(make: Maker): void {
  const [details, made] = [make.name('details'), make.name('holders')]
  make.run(`
    create table ${details.relation} (id uuid primary key, note text);
    create table ${made.relation} (id uuid primary key, tenant_id uuid not null references tenants,
      detail uuid unique references ${details.relation});
    insert into ${details.relation} select ${idFrom(details, 'o.id')}, 'd' from tenants o;
    insert into ${details.relation} values (${idFrom(details, `'nobody'`)}, 'd');
    insert into ${made.relation} select ${idFrom(made, 'o.id')}, o.id, ${idFrom(details, 'o.id')} from tenants o;`)
  const holder: Made = { ...made, owns: 't.tenant_id::text = $1', depth: 1 }
  make.add(holder)
  make.add({ ...details, owns: `t.id in ${idsOf(holder, 'detail')}`, depth: 2 }, false)
}

function makePartitioned(make: Maker): void {
  const made = make.name('readings')
  const owner = make.owner()
  const leaf = (n: number) => `public."${made.bare}_leaf_${n}"`
  make.run(`
    create table ${made.relation} (of uuid not null, at date not null, v numeric(9, 3)) partition by range (at);
    create table ${leaf(1)} partition of ${made.relation} for values from (minvalue) to ('2020-01-01');
    create table ${leaf(2)} partition of ${made.relation} default;
    alter table ${leaf(1)} add foreign key (of) references ${owner.relation};
    alter table ${leaf(2)} add foreign key (of) references ${owner.relation};
    insert into ${made.relation} select o.id, d, 1.50
      from only ${owner.relation} o, (values ('2001-01-01'::date), ('2030-01-01')) v (d);`)
  make.add({ ...made, owns: `t.of in ${idsOf(owner)}`, depth: 5 }, false)
}

function makeInherited(make: Maker): void {
  const [above, made] = [make.name('things'), make.name('goods')]
  make.run(`
    create table ${above.relation} (tenant_id uuid not null, name text);
    create table ${made.relation} (stock int) inherits (${above.relation});
    insert into ${above.relation} select id, 'thing' from tenants;
    insert into ${made.relation} select id, 'good', 1 from tenants;`)
  for (const table of [above, made]) {
    make.add({ ...table, owns: 't.tenant_id::text = $1', depth: 1 }, false)
  }
}

function makeUnkeyed(make: Maker): void {
  const made = make.name('carts')
  make.run(`
    create unlogged table ${made.relation} (tenant_id uuid not null, item text);
    insert into ${made.relation} select id, 'x' from tenants, generate_series(1, 2);`)
  make.add({ ...made, owns: 't.tenant_id::text = $1', depth: 1 }, false)
}

function makeCycle(make: Maker): void {
  const made = make.name('cards')
  const owner = make.owner()
  make.run(`
    create table ${made.relation} (id uuid primary key, "of" uuid not null references ${owner.relation},
      above uuid references ${made.relation});
    alter table ${owner.relation} add column "top_${made.bare}" uuid references ${made.relation};
    insert into ${made.relation} select ${idFrom(made, 'o.id')}, o.id, ${idFrom(made, 'o.id')} from only ${owner.relation} o;
    update only ${owner.relation} set "top_${made.bare}" = ${idFrom(made, 'id')};`)
  make.add({ ...made, owns: `t."of" in ${idsOf(owner)}`, depth: owner.depth + 1 })
}

function makeTyped(make: Maker): void {
  const made = make.name('moods')
  make.run(`
    create table ${made.relation} (n int generated always as identity primary key, tenant_id uuid not null,
      m mood, ms mood[], s short, during daterange, doubled text generated always as (s || s) stored);
    insert into ${made.relation} (tenant_id, m, ms, s, during)
      select id, 'so so', '{fine,NULL}', 'x', '[2020-01-01,2020-02-01)' from tenants;
    create view "${made.bare}_seen" as select * from ${made.relation};`)
  make.add({ ...made, owns: 't.tenant_id::text = $1', depth: 1 }, false)
}

function makeWithPolicies(make: Maker): void {
  const made = make.name('tasks')
  const owner = make.owner()
  make.run(`
    create table ${made.relation} (id uuid primary key, "of" uuid not null references ${owner.relation});
    insert into ${made.relation} select ${idFrom(made, 'o.id')}, o.id from only ${owner.relation} o;
    alter table ${made.relation} enable row level security;
    create policy everybody on ${made.relation} using (true) with check (true);
    create policy narrow on ${made.relation} as restrictive to authenticated using (id is not null);`)
  make.add({ ...made, owns: `t."of" in ${idsOf(owner)}`, depth: owner.depth + 1 })
}

function makeLookup(make: Maker): void {
  const [kinds, names, made] = [make.name('kinds'), make.name('names'), make.name('uses')]
  make.run(`
    create table ${kinds.relation} (id int primary key, text text);
    create table ${names.relation} (kind int not null references ${kinds.relation}, language text);
    create table ${made.relation} (id uuid primary key, tenant_id uuid not null, kind int references ${kinds.relation});
    insert into ${kinds.relation} values (1, 'a'), (2, 'b');
    insert into ${names.relation} values (1, 'de'), (2, 'en');
    insert into ${made.relation} select ${idFrom(made, 'o.id', 'k.id')}, o.id, k.id from tenants o, ${kinds.relation} k;`)
  make.add({ ...made, owns: 't.tenant_id::text = $1', depth: 1 })
}

function makeLeftBehind(make: Maker): void {
  const made = make.name('old_log')
  make.run(`create table ${made.relation} (at timestamptz, line text);`)
}
