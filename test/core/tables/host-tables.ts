import type { HostForeignKey, HostTable } from '../../../src/core/tables/host-table.ts'

/**
 * A host table from short words: columns as `id`, `note?` (may be null) or `id int8`; keys as
 * `order_id>orders.id`, `a,b>orders.x,y`, with `cascade` at the end where they cascade on delete.
 */
export function hostTable(
  name: string,
  columns: readonly string[],
  keys: readonly string[] = [],
  more: Partial<HostTable> = {},
): HostTable {
  const [schema, table] = name.includes('.') ? splitName(name) : ['public', name]
  return {
    schema,
    name: table,
    kind: 'r',
    hasRowSecurity: true,
    isUnlogged: false,
    inheritsFrom: [],
    rules: [],
    restrictivePolicies: [],
    foreignOwner: null,
    columns: columns.map((text) => {
      const [column = '', type = 'uuid'] = text.split(' ')
      return {
        name: column.replace('?', ''),
        type,
        typeSchema: null,
        isNullable: column.endsWith('?'),
      }
    }),
    primaryKey: [columns[0]?.split(' ')[0] ?? ''],
    uniqueKeys: [[columns[0]?.split(' ')[0] ?? '']],
    foreignKeys: keys.map((text) => foreignKey(table, text)),
    ...more,
  }
}

function foreignKey(table: string, text: string): HostForeignKey {
  const [pair = '', action] = text.split(' ')
  const [own = '', target = ''] = pair.split('>')
  const columns = own.split(',')
  const dot = target.lastIndexOf('.')
  const [targetSchema, targetTable] = target.slice(0, dot).includes('.')
    ? splitName(target.slice(0, dot))
    : ['public', target.slice(0, dot)]
  return {
    name: `${table}_${columns.join('_')}_fkey`,
    columns,
    targetSchema,
    targetTable,
    targetColumns: target.slice(dot + 1).split(','),
    cascadesOnDelete: action === 'cascade',
  }
}

function splitName(name: string): [string, string] {
  const dot = name.indexOf('.')
  return [name.slice(0, dot), name.slice(dot + 1)]
}
