/** How rows of registered tables name each other: by foreign keys, and by edges of ownership that have none. */
import * as z from 'zod'
import type { Queryable } from '../database/database.ts'
import type { ForeignKey } from '../restore/read-constraints.ts'

export interface Reference {
  /** Of the foreign key; null for an edge that has none. */
  oid: string | null
  name: string | null
  /** Labels, and columns in pairs. */
  child: string
  childColumns: string[]
  parent: string
  parentColumns: string[]
  isDeferrable: boolean
  /** It counts only where this column of the child has this value. */
  condition: { column: string; value: string } | null
  /** The child's policy asks for the parent. */
  isOwnership: boolean
  /** The other way round: the parent's policy asks for the child, whose row names it. */
  isBackward: boolean
}

const Edge = z.object({
  label: z.string(),
  columns: z.array(z.string()),
  ownerLabel: z.string(),
  ownerColumns: z.array(z.string()),
  condition: z.object({ column: z.string(), value: z.string() }).nullable(),
  constraintName: z.string().nullable(),
  isBackward: z.boolean(),
})

const READ_EDGES = `
  select case e.schema_name when 'public' then e.table_name else e.schema_name || '.' || e.table_name end as label,
    to_jsonb(e.columns) as columns,
    case e.owner_schema when 'public' then e.owner_table else e.owner_schema || '.' || e.owner_table end as "ownerLabel",
    to_jsonb(e.owner_columns) as "ownerColumns",
    case when e.condition is not null then jsonb_build_object(
      'column', e.condition ->> 'column', 'value', e.condition ->> 'value') end as condition,
    e.constraint_name as "constraintName", e.is_backward as "isBackward"
  from tenantkeep.ownership e order by e.id`

/** Reads the edges, as the worker, and joins them with the foreign keys. */
export async function readReferences(
  session: Queryable,
  foreignKeys: readonly ForeignKey[],
): Promise<Reference[]> {
  const { rows } = await session.query(READ_EDGES)
  const edges = z
    .array(Edge)
    .parse(rows)
    .map(
      (edge): Reference => ({
        oid: null,
        name: edge.constraintName,
        child: edge.isBackward ? edge.ownerLabel : edge.label,
        childColumns: edge.isBackward ? edge.ownerColumns : edge.columns,
        parent: edge.isBackward ? edge.label : edge.ownerLabel,
        parentColumns: edge.isBackward ? edge.columns : edge.ownerColumns,
        isDeferrable: false,
        condition: edge.condition,
        isOwnership: !edge.isBackward,
        isBackward: edge.isBackward,
      }),
    )
  const references = new Map<string, Reference>()
  for (const key of foreignKeys) {
    if (key.childLabel === null || key.parentLabel === null) continue
    const reference: Reference = {
      oid: key.oid,
      name: key.name,
      child: key.childLabel,
      childColumns: key.childColumns,
      parent: key.parentLabel,
      parentColumns: key.parentColumns,
      isDeferrable: key.isDeferrable,
      condition: null,
      isOwnership: false,
      isBackward: false,
    }
    // Leaves of a partitioned table may each have the same key.
    const known = references.get(identify(reference))
    if (known === undefined) references.set(identify(reference), reference)
    else known.isDeferrable &&= key.isDeferrable
  }
  for (const edge of edges) {
    const known = references.get(identify(edge))
    if (known === undefined) {
      references.set(`${identify(edge)} ${JSON.stringify(edge.condition)}`, edge)
    } else if (edge.isBackward) known.isBackward = true
    else known.isOwnership = true
  }
  return [...references.values()]
}

function identify({ child, childColumns, parent, parentColumns }: Reference): string {
  const pairs = childColumns.map((column, index) => [column, parentColumns[index]])
  return JSON.stringify([child, parent, pairs.sort()])
}
