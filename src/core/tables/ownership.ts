import type { HostTable } from './host-table.ts'

/** The edge counts only for rows whose column has this value: the type of a type-and-id pair. */
interface EdgeCondition {
  column: string
  /** As an administrator wrote it; never a value read from rows. */
  value: string
}

/** These columns of a table name the row of another table that owns it. */
export interface OwnershipEdge {
  columns: string[]
  ownerSchema: string
  ownerTable: string
  ownerColumns: string[]
  /** The foreign key along which it runs, the owner's own where it runs backwards; null where there is none. */
  constraintName: string | null
  condition: EdgeCondition | null
  /** The owner's row names the owned row: `ownerColumns` point at `columns`. */
  isBackward: boolean
}

/**
 * What a table is to a tenant, with what its class needs; DESIGN's registry in TypeScript. A tenant column
 * and edges are steps of one ranked list: a step counts only where the former ones say nothing, because a
 * column of theirs is null or their condition does not hold.
 */
export type Classification =
  /** `parentColumn` names the tenant above, where a tenant's own tenants count in; else null. */
  | { class: 'root'; tenantColumn: string; tenantType: string; parentColumn: string | null }
  | { class: 'direct'; tenantColumn: string; tenantType: string; otherwise: OwnershipEdge[] }
  | { class: 'child'; edges: OwnershipEdge[] }
  /** `{tenant}` stands for the tenant's id as text. */
  | { class: 'custom'; predicate: string }
  | { class: 'shared' }
  | { class: 'excluded'; reason: string }

export interface ClassifiedTable {
  table: HostTable
  classification: Classification
  /** Order of ownership: an owner stands before what it owns. */
  position: number
}

/** The ranked edges of a table, whatever its class. */
export function edgesOf(classification: Classification): readonly OwnershipEdge[] {
  if (classification.class === 'child') return classification.edges
  return classification.class === 'direct' ? classification.otherwise : []
}

/** `schema.table` of an edge's owner. */
export function ownerOf(edge: OwnershipEdge): string {
  return `${edge.ownerSchema}.${edge.ownerTable}`
}

/** A table that init can't settle by itself, and the flags that would. */
export interface UnsettledTable {
  schema: string
  name: string
  reason: string
  flags: string[]
}
