import { describe, expect, it } from 'vitest'
import {
  type Discovery,
  type DiscoveryOptions,
  discoverOwnership,
} from '../../../src/core/tables/discover-ownership.ts'
import { type HostTable, tableName } from '../../../src/core/tables/host-table.ts'
import {
  type Classification,
  edgesOf,
  type OwnershipEdge,
} from '../../../src/core/tables/ownership.ts'
import { hostTable } from './host-tables.ts'

const ORGANIZATIONS = hostTable('organizations', ['id'])

function discover(tables: readonly HostTable[], more: Partial<DiscoveryOptions> = {}): Discovery {
  return discoverOwnership([ORGANIZATIONS, ...tables], {
    root: { schema: 'public', name: 'organizations', key: 'id' },
    tenantColumns: ['organization_id'],
    excluded: new Map(),
    shared: new Set(),
    custom: new Map(),
    owned: new Map(),
    ...more,
  })
}

/** `customers: direct organization_id`, `items: order_id>orders.id`, … without the root, owners first. */
function outline({ classified, unsettled }: Discovery): string[] {
  return [
    ...classified
      .slice(1)
      .map(({ table, classification }) => `${table.name}: ${describeClass(classification)}`),
    ...unsettled.map((table) => `${table.name}: unsettled`),
  ]
}

function describeClass(classification: Classification): string {
  switch (classification.class) {
    case 'root':
    case 'direct':
      return [
        `${classification.class} ${classification.tenantColumn} ${classification.tenantType}`,
        ...edgesOf(classification).map(describeEdge),
      ].join(' else ')
    case 'child':
      return classification.edges.map(describeEdge).join(' else ')
    case 'custom':
      return `custom ${classification.predicate}`
    case 'excluded':
      return `excluded ${classification.reason}`
    case 'shared':
      return 'shared'
  }
}

function describeEdge(owner: OwnershipEdge): string {
  return `${owner.columns}>${owner.ownerTable}.${owner.ownerColumns}`
}

function edge(columns: string, ownerTable: string, ownerColumns: string): OwnershipEdge {
  return {
    columns: columns.split(','),
    ownerSchema: 'public',
    ownerTable,
    ownerColumns: ownerColumns.split(','),
    constraintName: null,
    condition: null,
    isBackward: false,
  }
}

interface Case {
  shape: string
  tables: HostTable[]
  options?: Partial<DiscoveryOptions>
  finds: string[]
}

const CASES: Case[] = [
  {
    shape: 'a table with the tenant column',
    tables: [hostTable('customers', ['id', 'organization_id'])],
    finds: ['customers: direct organization_id uuid'],
  },
  {
    shape: 'two spellings of the tenant column, of types of their own',
    tables: [hostTable('a', ['id', 'organization_id']), hostTable('b', ['id', 'orgId text'])],
    options: { tenantColumns: ['organization_id', 'orgId'] },
    finds: ['a: direct organization_id uuid', 'b: direct orgId text'],
  },
  {
    shape: 'both spellings in one table: the first that was named',
    tables: [hostTable('a', ['id', 'orgId', 'organization_id'])],
    options: { tenantColumns: ['organization_id', 'orgId'] },
    finds: ['a: direct organization_id uuid'],
  },
  {
    shape: 'a foreign key to the root under another name',
    tables: [hostTable('a', ['id', 'company'], ['company>organizations.id'])],
    finds: ['a: direct company uuid'],
  },
  {
    shape: 'a foreign key to the root by another unique column',
    tables: [hostTable('a', ['id', 'company text'], ['company>organizations.slug'])],
    finds: ['a: company>organizations.slug'],
  },
  {
    shape: 'a nullable foreign key to the root',
    tables: [hostTable('a', ['id', 'company?'], ['company>organizations.id'])],
    finds: ['a: unsettled'],
  },
  {
    shape: 'a child and a grandchild, listed youngest first',
    tables: [
      hostTable('a_grandchildren', ['id', 'child_id'], ['child_id>b_children.id']),
      hostTable('b_children', ['id', 'parent_id'], ['parent_id>c_parents.id']),
      hostTable('c_parents', ['id', 'organization_id']),
    ],
    finds: [
      'c_parents: direct organization_id uuid',
      'b_children: parent_id>c_parents.id',
      'a_grandchildren: child_id>b_children.id',
    ],
  },
  {
    shape: 'a composite key, columns in the order of the key',
    tables: [
      hostTable('orders', ['id', 'organization_id', 'number']),
      hostTable('items', ['id', 'b', 'a'], ['a,b>orders.number,id']),
    ],
    finds: ['orders: direct organization_id uuid', 'items: a,b>orders.number,id'],
  },
  {
    shape: 'a composite key of which one column may be null',
    tables: [
      hostTable('orders', ['id', 'organization_id', 'number']),
      hostTable('items', ['id', 'a', 'b?'], ['a,b>orders.number,id']),
    ],
    finds: ['orders: direct organization_id uuid', 'items: unsettled'],
  },
  {
    shape: 'a child that also refers to itself',
    tables: [
      hostTable('parents', ['id', 'organization_id']),
      hostTable(
        'nodes',
        ['id', 'parent_id', 'up', 'down?'],
        ['up>nodes.id', 'down>nodes.id', 'parent_id>parents.id'],
      ),
    ],
    finds: ['parents: direct organization_id uuid', 'nodes: parent_id>parents.id'],
  },
  {
    shape: 'a table that only refers to itself',
    tables: [hostTable('nodes', ['id', 'up'], ['up>nodes.id'])],
    finds: ['nodes: unsettled'],
  },
  {
    shape: 'a cycle of not-null keys with one way out of it',
    tables: [
      hostTable('parents', ['id', 'organization_id']),
      hostTable('a', ['id', 'b_id', 'p_id'], ['b_id>b.id cascade', 'p_id>parents.id']),
      hostTable('b', ['id', 'a_id'], ['a_id>a.id cascade']),
    ],
    finds: ['parents: direct organization_id uuid', 'a: p_id>parents.id', 'b: a_id>a.id'],
  },
  {
    shape: 'a cycle on the only path',
    tables: [
      hostTable('a', ['id', 'b_id'], ['b_id>b.id']),
      hostTable('b', ['id', 'a_id'], ['a_id>a.id']),
    ],
    finds: ['a: unsettled', 'b: unsettled'],
  },
  {
    shape: 'a cycle of tables that both have the tenant column',
    tables: [
      hostTable('bottles', ['id', 'organization_id', 'rental_id?'], ['rental_id>rentals.id']),
      hostTable(
        'rentals',
        ['id', 'organization_id', 'bottle_id'],
        ['bottle_id>bottles.id cascade'],
      ),
    ],
    finds: ['bottles: direct organization_id uuid', 'rentals: direct organization_id uuid'],
  },
  {
    shape: 'keys that may all be null',
    tables: [
      hostTable('customers', ['id', 'organization_id']),
      hostTable('files', ['id', 'customer_id?'], ['customer_id>customers.id cascade']),
    ],
    finds: ['customers: direct organization_id uuid', 'files: unsettled'],
  },
  {
    shape: 'a tenant column that may be null, beside a key that may not',
    tables: [
      hostTable('customers', ['id', 'organization_id']),
      hostTable(
        'files',
        ['id', 'organization_id?', 'customer_id'],
        ['customer_id>customers.id', 'organization_id>organizations.id'],
      ),
    ],
    finds: [
      'customers: direct organization_id uuid',
      'files: direct organization_id uuid else customer_id>customers.id',
    ],
  },
  {
    shape: 'no key and no column at all',
    tables: [hostTable('currencies', ['code text'])],
    finds: ['currencies: unsettled'],
  },
  {
    shape: 'a key that cascades before one that does not',
    tables: [
      hostTable('x', ['id', 'organization_id']),
      hostTable('y', ['id', 'organization_id']),
      hostTable('z', ['id', 'a', 'b'], ['a>x.id', 'b>y.id cascade']),
    ],
    finds: ['x: direct organization_id uuid', 'y: direct organization_id uuid', 'z: b>y.id'],
  },
  {
    shape: 'the shorter of two that cascade',
    tables: [
      hostTable('x', ['id', 'organization_id']),
      hostTable('y', ['id', 'x_id'], ['x_id>x.id']),
      hostTable('z', ['id', 'a', 'b'], ['a>y.id cascade', 'b>x.id cascade']),
    ],
    finds: ['x: direct organization_id uuid', 'y: x_id>x.id', 'z: b>x.id'],
  },
  {
    shape: 'a not-null key before one that cascades and may be null',
    tables: [
      hostTable('x', ['id', 'organization_id']),
      hostTable('y', ['id', 'organization_id']),
      hostTable('z', ['id', 'a?', 'b'], ['a>x.id cascade', 'b>y.id']),
    ],
    finds: ['x: direct organization_id uuid', 'y: direct organization_id uuid', 'z: b>y.id'],
  },
  {
    shape: 'an owner in another schema, of the same name as one in this',
    tables: [
      hostTable('billing.orders', ['id', 'organization_id']),
      hostTable('orders', ['id', 'up'], ['up>billing.orders.id']),
    ],
    finds: ['orders: direct organization_id uuid', 'orders: up>orders.id'],
  },
  {
    shape: 'a shared table, its children undecided',
    tables: [
      hostTable('currencies', ['code text']),
      hostTable('rates', ['id', 'code text'], ['code>currencies.code']),
    ],
    options: { shared: new Set(['public.currencies']) },
    finds: ['currencies: shared', 'rates: unsettled'],
  },
  {
    shape: 'an excluded table although it has the tenant column',
    tables: [
      hostTable('caches', ['id', 'organization_id']),
      hostTable('lines', ['id', 'cache_id'], ['cache_id>caches.id']),
    ],
    options: { excluded: new Map([['public.caches', 'recomputed']]) },
    finds: ['caches: excluded recomputed', 'lines: unsettled'],
  },
  {
    shape: 'a custom table and what it owns',
    tables: [
      hostTable('blobs', ['id', 'path text']),
      hostTable('chunks', ['id', 'blob_id'], ['blob_id>blobs.id']),
    ],
    options: { custom: new Map([['public.blobs', 'path like {tenant}']]) },
    finds: ['blobs: custom path like {tenant}', 'chunks: blob_id>blobs.id'],
  },
  {
    shape: 'edges that a person told us, ranked, before those of the catalog',
    tables: [
      hostTable('x', ['id', 'organization_id']),
      hostTable('y', ['id', 'organization_id']),
      hostTable('z', ['id', 'organization_id', 'a?', 'b?'], ['a>x.id']),
    ],
    options: { owned: new Map([['public.z', [edge('b', 'y', 'id'), edge('a', 'x', 'id')]]]) },
    finds: [
      'x: direct organization_id uuid',
      'y: direct organization_id uuid',
      'z: b>y.id else a>x.id',
    ],
  },
  {
    shape: 'a told edge to an owner that leads nowhere',
    tables: [hostTable('x', ['id']), hostTable('y', ['id', 'x_id'])],
    options: {
      owned: new Map([['public.y', [edge('x_id', 'x', 'id')]]]),
      shared: new Set(['public.x']),
    },
    finds: ['x: shared', 'y: unsettled'],
  },
  {
    shape: 'a told edge to itself',
    tables: [hostTable('x', ['id', 'up'])],
    options: { owned: new Map([['public.x', [edge('up', 'x', 'id')]]]) },
    finds: ['x: unsettled'],
  },
]

describe('discovery', () => {
  it.each(CASES)('settles $shape', ({ tables, options, finds }) => {
    expect(outline(discover(tables, options))).toEqual(finds)
  })

  it('finds the same in the same order, whatever the order of the catalog', () => {
    const tables = CASES[6]?.tables ?? []
    const forwards = discover(tables)
    const backwards = discover([...tables].reverse())
    expect(outline(backwards)).toEqual(outline(forwards))
  })

  it('puts the root first and every owner before what it owns, at positions without gaps', () => {
    for (const { tables, options } of CASES) {
      const { classified } = discover(tables, options)
      const position = new Map(classified.map((entry) => [tableName(entry.table), entry.position]))
      expect([...position.values()]).toEqual(classified.map((_, index) => index))
      expect(classified[0]?.classification.class).toBe('root')
      for (const { table, classification } of classified) {
        for (const { ownerSchema, ownerTable } of edgesOf(classification)) {
          const owner = position.get(`${ownerSchema}.${ownerTable}`) ?? Number.NaN
          expect(owner).toBeLessThan(position.get(tableName(table)) ?? Number.NaN)
        }
      }
    }
  })

  it.each([
    {
      shape: 'a nullable tenant column, and what hangs on it firmly',
      tables: [
        hostTable('files', ['id', 'organization_id?']),
        hostTable('pages', ['id', 'file_id'], ['file_id>files.id']),
      ],
      finds: ['files: direct organization_id uuid', 'pages: file_id>files.id'],
      doubts: { 'public.files': 'nullable_tenant' },
    },
    {
      shape: 'nullable keys: those that cascade, then the shorter, and one to an owner found later',
      tables: [
        hostTable('x', ['id', 'organization_id']),
        hostTable('y', ['id', 'x_id?'], ['x_id>x.id']),
        hostTable('z', ['id', 'a?', 'b?', 'c?'], ['a>y.id', 'b>x.id', 'c>x.id cascade']),
      ],
      finds: [
        'x: direct organization_id uuid',
        'y: x_id>x.id',
        'z: c>x.id else b>x.id else a>y.id',
      ],
      doubts: { 'public.y': 'nullable_keys', 'public.z': 'nullable_keys' },
    },
    {
      shape: 'a circle of nullable keys with one way out, without walking round it',
      tables: [
        hostTable('x', ['id', 'organization_id']),
        hostTable('y', ['id', 'x_id?', 'z_id?'], ['x_id>x.id', 'z_id>z.id']),
        hostTable('z', ['id', 'y_id?'], ['y_id>y.id']),
      ],
      finds: ['x: direct organization_id uuid', 'y: x_id>x.id', 'z: y_id>y.id'],
      doubts: { 'public.y': 'nullable_keys', 'public.z': 'nullable_keys' },
    },
    {
      shape: 'a likely edge, the one that is never null alone',
      tables: [hostTable('x', ['id', 'organization_id']), hostTable('z', ['id', 'a?', 'b'])],
      options: { likely: new Map([['public.z', [edge('a', 'x', 'id'), edge('b', 'x', 'id')]]]) },
      finds: ['x: direct organization_id uuid', 'z: b>x.id'],
      doubts: { 'public.z': 'likely_edge' },
    },
    {
      shape: 'a likely edge to the root as a tenant column',
      tables: [hostTable('z', ['id', 'firm?'])],
      options: { likely: new Map([['public.z', [edge('firm', 'organizations', 'id')]]]) },
      finds: ['z: direct firm uuid'],
      doubts: { 'public.z': 'likely_edge' },
    },
    {
      shape: 'nothing where there is nothing',
      tables: [hostTable('z', ['id'])],
      finds: ['z: unsettled'],
      doubts: {},
    },
  ] as (Case & { doubts: Record<string, string> })[])(
    'proposes, where asked to: $shape',
    ({ tables, options, finds, doubts }) => {
      const found = discover(tables, { ...options, propose: true })
      expect(outline(found)).toEqual(finds)
      expect(Object.fromEntries(found.doubts)).toEqual(doubts)
    },
  )

  it('carries the type of the root’s own key', () => {
    const { classified } = discoverOwnership([hostTable('tenants', ['id int8'])], {
      root: { schema: 'public', name: 'tenants', key: 'id' },
      tenantColumns: [],
      excluded: new Map(),
      shared: new Set(),
      custom: new Map(),
      owned: new Map(),
    })
    expect(classified).toMatchObject([
      {
        classification: {
          class: 'root',
          tenantColumn: 'id',
          tenantType: 'int8',
          parentColumn: null,
        },
      },
    ])
  })

  it.each([
    {
      why: 'nothing leads to a tenant',
      table: hostTable('t', ['id']),
      reason: /no tenant column and no not-null foreign key/,
      flag: '--owned "public.t.<column>=<owner table>.<its key>"',
    },
    {
      why: 'its tenant column may be null',
      table: hostTable('t', ['id', 'organization_id?']),
      reason: /organization_id may be null/,
      flag: '--custom "public.t=<condition with {tenant}>"',
    },
    {
      why: 'its only key may be null',
      table: hostTable('t', ['id', 'c_id?'], ['c_id>customers.id']),
      reason: /hangs on customers only by t_c_id_fkey/,
      flag: '--owned "public.t.c_id=public.customers.id"',
    },
    {
      why: 'its only key leads to a table of everybody',
      table: hostTable('t', ['id', 'c_id'], ['c_id>currencies.id']),
      reason: /hangs on currencies, which leads to no tenant/,
      flag: '--owned "public.t.c_id=public.currencies.id"',
    },
    {
      why: 'its only key is of two columns, one of which may be null',
      table: hostTable('t', ['id', 'a', 'b?'], ['a,b>customers.x,y']),
      reason: /hangs on customers only by t_a_b_fkey/,
      flag: '--owned "public.t.a,b=public.customers.x,y"',
    },
  ])('says why a table is unsettled and which flags settle it: $why', ({ table, reason, flag }) => {
    const { unsettled } = discover([hostTable('customers', ['id', 'organization_id']), table])
    expect(unsettled).toMatchObject([
      { schema: 'public', name: 't', reason: expect.stringMatching(reason) },
    ])
    expect(unsettled[0]?.flags).toContain(flag)
    expect(unsettled[0]?.flags).toContain('--shared public.t')
    expect(unsettled[0]?.flags).toContain('--exclude "public.t=why its rows need no backup"')
  })
})
