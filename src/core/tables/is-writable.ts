import { type ClassifiedTable, edgesOf, ownerOf } from './ownership.ts'
import type { Registry } from './render-path.ts'

/**
 * Whether we may write a table's rows at all. Only where each edge names its owner by columns that are
 * unique there: else a tenant could re-point a row of its own at a neighbour's, whose row would then be
 * both tenants'. That is so along every foreign key, and has to be looked up where an edge runs without
 * one or backwards. What such a row owns is not ours to write either.
 */
export function isWritable(registry: Registry, { classification }: ClassifiedTable): boolean {
  return edgesOf(classification).every((edge) => {
    const owner = registry.get(ownerOf(edge))
    if (owner === undefined) return false
    const isNamedOnce = owner.table.uniqueKeys.some((key) =>
      key.every((column) => edge.ownerColumns.includes(column)),
    )
    return isNamedOnce && isWritable(registry, owner)
  })
}
