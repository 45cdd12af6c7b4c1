import type { HostTable } from './host-table.ts'

/** These columns of a table name the row of another table that owns it. */
export interface OwnershipEdge {
  columns: string[]
  ownerSchema: string
  ownerTable: string
  ownerColumns: string[]
  /** Null where an administrator told us and no foreign key says so. */
  constraintName: string | null
}

/** What a table is to a tenant, with what its class needs; DESIGN's registry in TypeScript. */
export type Classification =
  | { class: 'root'; tenantColumn: string; tenantType: string }
  | { class: 'direct'; tenantColumn: string; tenantType: string }
  /** Ranked: the next edge counts only where a column of the former ones is null. */
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

/** A table that init can't settle by itself, and the flags that would. */
export interface UnsettledTable {
  schema: string
  name: string
  reason: string
  flags: string[]
}
