import { describe, expect, it } from 'vitest'
import { orderTables } from '../../../src/core/defaults/order-tables.ts'
import type { Reference } from '../../../src/core/defaults/read-references.ts'

function reference(child: string, parent: string, more: Partial<Reference> = {}): Reference {
  return {
    oid: '1',
    name: `${child}_${parent}_fkey`,
    child,
    childColumns: [`${parent}_id`],
    parent,
    parentColumns: ['id'],
    isDeferrable: false,
    condition: null,
    isOwnership: false,
    isBackward: false,
    ...more,
  }
}
const never = () => []
const always = ({ childColumns }: Reference) => childColumns

describe('the order in which tables are written', () => {
  it('has parents before children, and owners before what they own, with a foreign key or without', () => {
    const order = orderTables(
      ['notes', 'items', 'groups', 'tags'],
      [
        reference('items', 'groups'),
        reference('notes', 'items', { oid: null, isOwnership: true }),
        reference('items', 'tags'),
        reference('items', 'items'),
        reference('items', 'elsewhere'),
      ],
      never,
    )
    expect(order).toEqual({
      labels: ['groups', 'tags', 'items', 'notes'],
      later: [],
      impossible: [],
    })
  })

  it('lets keys go that can be deferred, where there is a circle', () => {
    const eggs = reference('eggs', 'hens', { isDeferrable: true })
    const order = orderTables(['eggs', 'hens'], [eggs, reference('hens', 'eggs')], never)
    expect(order).toEqual({ labels: ['eggs', 'hens'], later: [], impossible: [] })
  })

  it('else sets those later that may be null, of the circle alone', () => {
    const cover = reference('boards', 'cards')
    const hint = reference('hints', 'boards')
    const order = orderTables(
      ['hints', 'boards', 'cards'],
      [hint, cover, reference('cards', 'boards', { isOwnership: true })],
      always,
    )
    expect(order).toEqual({ labels: ['boards', 'hints', 'cards'], later: [cover], impossible: [] })
  })

  it('names the tables that no order satisfies', () => {
    const circle = orderTables(['a', 'b', 'c'], [reference('a', 'b'), reference('b', 'a')], never)
    expect(circle.impossible).toEqual(['a', 'b'])
    // A row that names what it owns must be there first, and can't be without what it names.
    const backward = orderTables(
      ['sites', 'addresses'],
      [reference('sites', 'addresses', { isBackward: true })],
      always,
    )
    expect(backward.impossible).toEqual(['sites', 'addresses'])
  })
})
