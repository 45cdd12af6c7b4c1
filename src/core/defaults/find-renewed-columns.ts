import type { UniqueKey } from '../restore/read-constraints.ts'
import type { Reference } from './read-references.ts'

/** A column with a default or an identity: where its values come from when a row is new. */
export interface ValueSource {
  label: string
  column: string
  /** The default's expression as the catalog prints it; null for an identity. */
  expression: string | null
  /** It draws from one sequence and does nothing else. */
  isSequence: boolean
}

/**
 * Which columns of a copy get new values, by label. A copy can't have all values of a unique key of its
 * original: what the tenant's column or a reference to a copied row is part of differs by itself, and keeps
 * the rest; of the others, what the database makes is made anew. What is left over can't be copied.
 */
export function findRenewedColumns(given: {
  labels: readonly string[]
  uniqueKeys: readonly UniqueKey[]
  references: readonly Reference[]
  sources: readonly ValueSource[]
  /** Columns that hold the tenant's id, by label. */
  tenantColumns: ReadonlyMap<string, ReadonlySet<string>>
  rootLabel: string
}): Map<string, Set<string>> {
  const { labels, references, rootLabel } = given
  const renewed = new Map<string, Set<string>>(labels.map((label) => [label, new Set()]))
  const differs = new Set(
    [...given.tenantColumns].flatMap(([label, names]) => [...names].map((n) => name(label, n))),
  )
  const pairs = references.flatMap((reference) =>
    reference.childColumns.map((column, index) => ({
      child: name(reference.child, column),
      parent: name(reference.parent, reference.parentColumns[index] ?? ''),
      isRoot: reference.parent === rootLabel,
    })),
  )
  const referring = new Set(pairs.map(({ child }) => child))
  const spread = () => {
    for (let size = -1; size !== differs.size; ) {
      size = differs.size
      for (const { child, parent, isRoot } of pairs) {
        if (isRoot || differs.has(parent)) differs.add(child)
      }
    }
  }
  const known = new Map(given.sources.map((source) => [name(source.label, source.column), source]))
  const keys = given.uniqueKeys.filter(({ label }) => renewed.has(label))
  // Keys that refer to nothing first: what they get decides about the others.
  const hasReference = ({ label, columns }: UniqueKey) =>
    columns.some((column) => referring.has(name(label, column)))
  for (const key of [...keys.filter((k) => !hasReference(k)), ...keys.filter(hasReference)]) {
    spread()
    if (key.columns.some((column) => differs.has(name(key.label, column)))) continue
    for (const column of key.columns) {
      const full = name(key.label, column)
      if (!known.has(full) || referring.has(full)) continue
      renewed.get(key.label)?.add(column)
      differs.add(full)
    }
  }
  return renewed
}

/** Labels and columns may hold any character. */
function name(label: string, column: string): string {
  return JSON.stringify([label, column])
}
