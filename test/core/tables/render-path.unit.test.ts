import { describe, expect, it } from 'vitest'
import type { HostTable } from '../../../src/core/tables/host-table.ts'
import { tableName } from '../../../src/core/tables/host-table.ts'
import { isWritable } from '../../../src/core/tables/is-writable.ts'
import type { Classification, OwnershipEdge } from '../../../src/core/tables/ownership.ts'
import {
  describePath,
  fromClause,
  keyTypes,
  type Registry,
  renderCensusExpression,
  renderCurrentTenants,
  renderKeys,
  renderReachedExpression,
  renderRowExpression,
} from '../../../src/core/tables/render-path.ts'
import { hostTable } from './host-tables.ts'

function registryOf(...entries: [HostTable, Classification][]): Registry {
  return new Map(
    entries.map(([table, classification], position) => [
      tableName(table),
      { table, classification, position },
    ]),
  )
}

function entryOf(registry: Registry, name: string) {
  const entry = registry.get(name)
  if (entry === undefined) throw new Error(`${name} is not in the registry.`)
  return entry
}

function edge(
  columns: string[],
  owner: string,
  ownerColumns: string[],
  constraintName: string | null = 'fkey',
): OwnershipEdge {
  return {
    columns,
    ownerSchema: 'public',
    ownerTable: owner,
    ownerColumns,
    constraintName,
    condition: null,
    isBackward: false,
  }
}

const ROOT: [HostTable, Classification] = [
  hostTable('organizations', ['id']),
  { class: 'root', tenantColumn: 'id', tenantType: 'uuid', parentColumn: null },
]
const ORDERS: [HostTable, Classification] = [
  hostTable('orders', ['id', 'organization_id', 'number int8']),
  { class: 'direct', tenantColumn: 'organization_id', tenantType: 'uuid', otherwise: [] },
]
const KEYS = (owner: OwnershipEdge) => `select keys_of_${owner.ownerTable}()`

describe('a path as SQL', () => {
  it('compares a tenant column with the id, read as the type of the column', () => {
    const registry = registryOf(ROOT, ORDERS)
    const orders = entryOf(registry, 'public.orders')
    expect({
      row: renderRowExpression(registry, orders, KEYS),
      census: renderCensusExpression(registry, orders),
      reached: renderReachedExpression(registry, orders),
      path: describePath(registry, orders),
    }).toEqual({
      row: '"organization_id" = (select tenantkeep.current_tenant())::uuid',
      census: '"organization_id" = $1::uuid',
      reached: '"organization_id" in (select t."id" from only "public"."organizations" t)',
      path: 'orders.organization_id',
    })
  })

  it('flattens the whole path of a grandchild for census and key function, an alias a step', () => {
    const items = edge(['order_id'], 'orders', ['id'])
    const notes = edge(['item_id'], 'items', ['id'])
    const registry = registryOf(
      ROOT,
      ORDERS,
      [hostTable('items', ['id', 'order_id']), { class: 'child', edges: [items] }],
      [hostTable('notes', ['id', 'item_id']), { class: 'child', edges: [notes] }],
    )
    const entry = entryOf(registry, 'public.notes')
    expect({
      row: renderRowExpression(registry, entry, KEYS),
      census: renderCensusExpression(registry, entry),
      keys: renderKeys(registry, notes, keyTypes(registry, entry.table, notes)),
      path: describePath(registry, entry),
    }).toEqual({
      row: '"item_id" in (select keys_of_items())',
      census:
        '"item_id" in (select "owner_1"."id" from only "public"."items" "owner_1" where "owner_1"."order_id" in (select "owner_2"."id" from only "public"."orders" "owner_2" where "owner_2"."organization_id" = $1::uuid))',
      keys: 'select "owner_1"."id" from only "public"."items" "owner_1" where "owner_1"."order_id" in (select "owner_2"."id" from only "public"."orders" "owner_2" where "owner_2"."organization_id" = (select tenantkeep.current_tenant())::uuid)',
      path: 'notes.item_id → items.order_id → orders.organization_id',
    })
  })

  it('lets a later edge count only where a column of the former is null', () => {
    const registry = registryOf(ROOT, ORDERS, [
      hostTable('files', ['id', 'a?', 'b?', 'order_id?']),
      {
        class: 'child',
        edges: [edge(['a', 'b'], 'orders', ['id', 'number']), edge(['order_id'], 'orders', ['id'])],
      },
    ])
    const files = entryOf(registry, 'public.files')
    expect(renderRowExpression(registry, files, KEYS)).toBe(
      '(("a", "b") in (select keys_of_orders()) or (("a" is null or "b" is null) and "order_id" in (select keys_of_orders())))',
    )
    expect(renderCensusExpression(registry, files)).toBe(
      '(("a", "b") in (select "owner_1"."id", "owner_1"."number" from only "public"."orders" "owner_1" where "owner_1"."organization_id" = $1::uuid) or (("a" is null or "b" is null) and "order_id" in (select "owner_1"."id" from only "public"."orders" "owner_1" where "owner_1"."organization_id" = $1::uuid)))',
    )
  })

  it('asks further steps of a tenant column only where it is null', () => {
    const orders = edge(['order_id'], 'orders', ['id'])
    const registry = registryOf(ROOT, ORDERS, [
      hostTable('notes', ['id', 'organization_id?', 'order_id']),
      {
        class: 'direct',
        tenantColumn: 'organization_id',
        tenantType: 'uuid',
        otherwise: [orders],
      },
    ])
    const notes = entryOf(registry, 'public.notes')
    expect({
      row: renderRowExpression(registry, notes, KEYS),
      path: describePath(registry, notes),
    }).toEqual({
      row: '("organization_id" = (select tenantkeep.current_tenant())::uuid or ("organization_id" is null and "order_id" in (select keys_of_orders())))',
      path: 'notes.organization_id, else notes.order_id → orders.organization_id',
    })
  })

  it('counts a type-and-id edge only for its type, and the next where the type is another', () => {
    const typed = (value: string) => ({
      ...edge(['subject_id'], 'orders', ['id'], null),
      condition: { column: 'subject_type', value },
    })
    const registry = registryOf(ROOT, ORDERS, [
      hostTable('notes', ['id', 'subject_type text', 'subject_id']),
      { class: 'child', edges: [typed("Or'der"), typed('App\\Order')] },
    ])
    const notes = entryOf(registry, 'public.notes')
    expect(renderRowExpression(registry, notes, KEYS)).toBe(
      `(("subject_type" = 'Or''der' and "subject_id" in (select keys_of_orders())) or (("subject_id" is null or ("subject_type" = 'Or''der') is not true) and ("subject_type" =  E'App\\\\Order' and "subject_id" in (select keys_of_orders()))))`,
    )
  })

  it('follows an edge that runs backwards from the owner’s column', () => {
    const registry = registryOf(
      ROOT,
      [
        hostTable('orders', ['id', 'organization_id', 'address_id?']),
        { class: 'direct', tenantColumn: 'organization_id', tenantType: 'uuid', otherwise: [] },
      ],
      [
        hostTable('addresses', ['id']),
        {
          class: 'child',
          edges: [{ ...edge(['id'], 'orders', ['address_id']), isBackward: true }],
        },
      ],
    )
    const addresses = entryOf(registry, 'public.addresses')
    expect({
      census: renderCensusExpression(registry, addresses),
      path: describePath(registry, addresses),
      isWritable: isWritable(registry, addresses),
    }).toEqual({
      census:
        '"id" in (select "owner_1"."address_id" from only "public"."orders" "owner_1" where "owner_1"."organization_id" = $1::uuid)',
      path: 'addresses.id ← orders.address_id: orders.organization_id',
      isWritable: false,
    })
  })

  it('takes a tenant’s own tenants in, and the tenant itself even where its row is gone', () => {
    const registry = registryOf(
      [
        hostTable('organizations', ['id', 'parent_id?']),
        { class: 'root', tenantColumn: 'id', tenantType: 'uuid', parentColumn: 'parent_id' },
      ],
      ORDERS,
    )
    const set = (tenant: string) =>
      `with recursive tenants (id) as (select ${tenant}::uuid union select "below"."id" from only "public"."organizations" below join tenants on "below"."parent_id" = tenants.id) select id from tenants`
    expect({
      root: renderRowExpression(registry, entryOf(registry, 'public.organizations'), KEYS),
      row: renderRowExpression(registry, entryOf(registry, 'public.orders'), KEYS),
      census: renderCensusExpression(registry, entryOf(registry, 'public.orders')),
      tenants: renderCurrentTenants(registry),
    }).toEqual({
      root: '("id" = (select tenantkeep.current_tenant())::uuid or "parent_id" in (select tenant::uuid from tenantkeep.current_tenants() tenant))',
      row: '"organization_id" in (select tenant::uuid from tenantkeep.current_tenants() tenant)',
      census: `"organization_id" in (select tenant.id::uuid from (${set('$1')}) tenant)`,
      tenants: `select tenant.id::text from (${set('(select tenantkeep.current_tenant())')}) tenant`,
    })
  })

  it('casts the key along a told edge, never the column, and nothing along a foreign key', () => {
    const table = hostTable('notes', ['id', 'order text', 'number int4'])
    const registry = registryOf(ROOT, ORDERS)
    const told = edge(['order', 'number'], 'orders', ['id', 'number'], null)
    const followed = edge(['number'], 'orders', ['number'])
    expect({
      told: keyTypes(registry, table, told),
      followed: keyTypes(registry, table, followed),
      keys: renderKeys(registry, told, keyTypes(registry, table, told)),
    }).toEqual({
      told: ['text', 'int4'],
      followed: ['int8'],
      keys: 'select "owner_1"."id"::text, "owner_1"."number"::int4 from only "public"."orders" "owner_1" where "owner_1"."organization_id" = (select tenantkeep.current_tenant())::uuid',
    })
  })

  it('asks whether any tenant reaches a row as text where the types differ', () => {
    const registry = registryOf(ROOT, [
      hostTable('notes', ['id', 'org varchar']),
      { class: 'direct', tenantColumn: 'org', tenantType: 'varchar', otherwise: [] },
    ])
    expect(renderReachedExpression(registry, entryOf(registry, 'public.notes'))).toBe(
      '"org"::text in (select t."id"::text from only "public"."organizations" t)',
    )
  })

  it('reads a partitioned owner with its leaves, every other without what inherits from it', () => {
    const owner = hostTable('orders', ['id', 'organization_id'], [], { kind: 'p' })
    expect([fromClause(owner), fromClause(ORDERS[0])]).toEqual([
      'from "public"."orders"',
      'from only "public"."orders"',
    ])
  })

  it('puts the tenant into an administrator’s predicate as it stands, dollar signs and all', () => {
    const registry = registryOf(ROOT, [
      hostTable('blobs', ['path text']),
      { class: 'custom', predicate: `path like {tenant} || '$&/$1/%' or owner = {tenant}` },
    ])
    const blobs = entryOf(registry, 'public.blobs')
    expect({
      row: renderRowExpression(registry, blobs, KEYS),
      census: renderCensusExpression(registry, blobs),
      reached: renderReachedExpression(registry, blobs),
    }).toEqual({
      row: `(path like (select tenantkeep.current_tenant()) || '$&/$1/%' or owner = (select tenantkeep.current_tenant()))`,
      census: `(path like $1 || '$&/$1/%' or owner = $1)`,
      reached: null,
    })
  })

  it('gives no condition for tables that are not the tenant’s', () => {
    const registry = registryOf(ROOT, [hostTable('currencies', ['code']), { class: 'shared' }])
    const shared = entryOf(registry, 'public.currencies')
    expect([
      renderRowExpression(registry, shared, KEYS),
      renderCensusExpression(registry, shared),
    ]).toEqual([null, null])
  })

  it('owns nothing through a table that no tenant owns', () => {
    const registry = registryOf(
      ROOT,
      [hostTable('currencies', ['code']), { class: 'shared' }],
      [
        hostTable('rates', ['id', 'code']),
        { class: 'child', edges: [edge(['code'], 'currencies', ['code'])] },
      ],
    )
    expect(renderCensusExpression(registry, entryOf(registry, 'public.rates'))).toBe(
      '"code" in (select "owner_1"."code" from only "public"."currencies" "owner_1" where false)',
    )
  })

  it.each([
    'x"; drop table "y',
    'a'.repeat(63),
    'Größe €🎈',
    'UPPER',
    'with space',
    'with.dot',
    '$keys$ $1 $$',
    "it's",
    '%I %s',
    'owner_1',
    '{tenant}',
    'back\\slash',
  ])('keeps the name %s a name', (name) => {
    const quoted = `"${name.replaceAll('"', '""')}"`
    const owner = edge([name], name, [name])
    const registry = registryOf(
      [
        hostTable('organizations', ['id']),
        { class: 'root', tenantColumn: name, tenantType: 'uuid', parentColumn: null },
      ],
      [
        {
          ...hostTable('x', ['id']),
          name,
          columns: [{ name, type: 'uuid', typeSchema: null, isNullable: false }],
        },
        { class: 'direct', tenantColumn: name, tenantType: 'uuid', otherwise: [] },
      ],
      [
        {
          ...hostTable('child', ['id']),
          columns: [{ name, type: 'uuid', typeSchema: null, isNullable: false }],
        },
        { class: 'child', edges: [owner] },
      ],
    )
    expect(renderCensusExpression(registry, entryOf(registry, 'public.child'))).toBe(
      `${quoted} in (select "owner_1".${quoted} from only "public".${quoted} "owner_1" where "owner_1".${quoted} = $1::uuid)`,
    )
  })
})
