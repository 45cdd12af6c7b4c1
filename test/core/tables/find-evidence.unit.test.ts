import { describe, expect, it } from 'vitest'
import {
  findBackward,
  findCandidates,
  findTypeOwner,
  findTypePairs,
  namesTable,
} from '../../../src/core/tables/find-evidence.ts'
import type { HostTable } from '../../../src/core/tables/host-table.ts'
import { tableName } from '../../../src/core/tables/host-table.ts'
import type { Registry } from '../../../src/core/tables/render-path.ts'
import { hostTable } from './host-tables.ts'

/** Every table with the tenant column `org`. */
function owners(...tables: HostTable[]): Registry {
  return new Map(
    tables.map((table, position) => [
      tableName(table),
      {
        table,
        classification: {
          class: 'direct',
          tenantColumn: 'org',
          tenantType: 'uuid',
          otherwise: [],
        },
        position,
      },
    ]),
  )
}

describe('names as evidence', () => {
  it.each([
    ['customer_id', 'customers', true],
    ['customerId', 'customers', true],
    ['company_uuid', 'companies', true],
    ['box_ref', 'boxes', true],
    ['line_id', 'order_lines', true],
    ['customer', 'customers', false],
    ['customer_name', 'customers', false],
    ['order_id', 'order_lines', false],
    ['id', 'ids', false],
  ])('%s names %s: %s', (column, table, isNamed) => {
    expect(namesTable(column, table)).toBe(isNamed)
  })

  it('compare uuids with every key, numbers and texts only where a name agrees', () => {
    const registry = owners(
      hostTable('customers', ['id', 'org']),
      hostTable('orders', ['id bigint', 'org']),
      hostTable('codes', ['code text', 'org']),
      hostTable('pairs', ['a', 'b'], [], { primaryKey: ['a', 'b'] }),
    )
    const candidatesOf = (name: string, type: string) =>
      findCandidates(registry, { name, type, typeSchema: null, isNullable: false }, []).map(
        ({ owner }) => owner.name,
      )
    expect({
      uuid: candidatesOf('whatever', 'uuid'),
      text: candidatesOf('whatever', 'text'),
      number: candidatesOf('whatever', 'integer'),
      named: candidatesOf('order_id', 'integer'),
      textual: candidatesOf('order_id', 'text'),
    }).toEqual({
      uuid: ['customers'],
      text: ['customers'],
      number: [],
      named: ['orders'],
      textual: ['orders', 'customers'],
    })
  })

  it('take a name for evidence that is a foreign key elsewhere', () => {
    const orders = hostTable('orders', ['id bigint', 'org'])
    const lines = hostTable('lines', ['id', 'bought_with bigint'], ['bought_with>orders.id'])
    const found = findCandidates(
      owners(orders),
      { name: 'bought_with', type: 'bigint', typeSchema: null, isNullable: true },
      [orders, lines],
    )
    expect(found).toMatchObject([{ owner: { name: 'orders' }, isNamed: true }])
  })

  it('find pairs of type and id, unless the id is a foreign key', () => {
    const table = hostTable(
      'comments',
      ['id', 'subjectType text', 'subjectId', 'owner_kind text', 'owner_id', 'phone_type text'],
      ['owner_id>owners.id'],
    )
    expect(findTypePairs(table)).toMatchObject([
      { type: { name: 'subjectType' }, id: { name: 'subjectId' } },
    ])
  })

  it.each([
    ['Invoice', 'invoices'],
    ['invoices', 'invoices'],
    ['App\\Models\\OrderLine', 'order_lines'],
    ['Core::Invoice', 'invoices'],
    ['Nobody', null],
    ['', null],
  ])('read the type %s as the table %s', (type, name) => {
    const registry = owners(
      hostTable('invoices', ['id', 'org']),
      hostTable('order_lines', ['id', 'org']),
    )
    expect(findTypeOwner(registry, type)?.name ?? null).toBe(name)
  })

  it('prefer the owner whose column is unique, where several point back', () => {
    const people = hostTable('people', ['id', 'org', 'address_id'], ['address_id>addresses.id'])
    const firms = hostTable('firms', ['id', 'org', 'address_id'], ['address_id>addresses.id'], {
      uniqueKeys: [['id'], ['address_id']],
    })
    const edge = findBackward(owners(people, firms), hostTable('addresses', ['id']))
    expect(edge).toMatchObject({
      columns: ['id'],
      ownerTable: 'firms',
      ownerColumns: ['address_id'],
      constraintName: 'firms_address_id_fkey',
      isBackward: true,
    })
  })
})
