import { describe, expect, it } from 'vitest'
import { findRenewedColumns } from '../../../src/core/defaults/find-renewed-columns.ts'
import type { Reference } from '../../../src/core/defaults/read-references.ts'
import type { UniqueKey } from '../../../src/core/restore/read-constraints.ts'

function key(label: string, columns: string[], isPrimary = false): UniqueKey {
  return {
    indexOid: '1',
    constraintOid: '1',
    name: `${label}_key`,
    label,
    columns,
    isPrimary,
    isDeferrable: false,
  }
}

function reference(
  child: string,
  childColumns: string[],
  parent: string,
  parentColumns: string[],
): Reference {
  return {
    oid: '1',
    name: null,
    child,
    childColumns,
    parent,
    parentColumns,
    isDeferrable: false,
    condition: null,
    isOwnership: false,
    isBackward: false,
  }
}

const source = (label: string, column: string) => ({
  label,
  column,
  expression: null,
  isSequence: true,
})

/** Of each table, in the order of the columns' names. */
function renewed(given: {
  keys: UniqueKey[]
  references?: Reference[]
  sources: string[]
  tenantColumns?: Record<string, string[]>
}): Record<string, string[]> {
  const labels = ['items', 'parts', 'codes']
  const found = findRenewedColumns({
    labels,
    uniqueKeys: given.keys,
    references: given.references ?? [],
    sources: given.sources.map((name) => {
      const [label = '', column = ''] = name.split('.')
      return source(label, column)
    }),
    tenantColumns: new Map(
      Object.entries(given.tenantColumns ?? {}).map(([label, names]) => [label, new Set(names)]),
    ),
    rootLabel: 'tenants',
  })
  return Object.fromEntries(
    [...found]
      .filter(([, names]) => names.size > 0)
      .map(([label, names]) => [label, [...names].sort()]),
  )
}

describe('columns that get new values', () => {
  it('are keys that the database makes, of every unique key that is the same in the copy', () => {
    expect(
      renewed({
        keys: [
          key('items', ['id'], true),
          key('items', ['token']),
          key('items', ['tenant_id', 'name']),
        ],
        sources: ['items.id', 'items.token', 'items.name'],
        tenantColumns: { items: ['tenant_id'] },
      }),
    ).toEqual({ items: ['id', 'token'] })
  })

  it('are not the rest of a key that the tenant’s column is part of, nor natural keys', () => {
    expect(
      renewed({
        keys: [key('items', ['tenant_id', 'id'], true), key('codes', ['code'], true)],
        sources: ['items.id'],
        tenantColumns: { items: ['tenant_id'] },
      }),
    ).toEqual({})
  })

  it('are not what refers to a row that is copied: that follows its key', () => {
    expect(
      renewed({
        keys: [
          key('items', ['id'], true),
          key('parts', ['item_id', 'n'], true),
          key('codes', ['id'], true),
        ],
        references: [
          reference('parts', ['item_id'], 'items', ['id']),
          reference('codes', ['id'], 'items', ['id']),
        ],
        sources: ['items.id', 'parts.n', 'codes.id'],
      }),
    ).toEqual({ items: ['id'] })
  })

  it('are what is left where a reference leads to a key that stays', () => {
    expect(
      renewed({
        keys: [key('codes', ['code'], true), key('parts', ['code', 'n'], true)],
        references: [reference('parts', ['code'], 'codes', ['code'])],
        sources: ['parts.n'],
      }),
    ).toEqual({ parts: ['n'] })
  })
})
