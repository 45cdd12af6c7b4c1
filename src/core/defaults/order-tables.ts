import type { Reference } from './read-references.ts'

export interface WriteOrder {
  /** Labels; what a row refers to stands before it, unless it is in one of the following. */
  labels: string[]
  /** References that are left null at first and set when everything is there. */
  later: Reference[]
  /** Labels of tables that no order satisfies; `labels` names them last. */
  impossible: string[]
}

/**
 * The order in which rows can be written while the database watches: owners before what they own, since row
 * level security asks for them, and parents before children. Where these form a circle, foreign keys that can
 * be deferred are let go first, then those whose columns may be null for a moment.
 */
export function orderTables(
  labels: readonly string[],
  references: readonly Reference[],
  /** Which columns of a reference may be null for a moment; none where it can't wait. */
  nullableColumns: (reference: Reference) => readonly string[],
): WriteOrder {
  const order: WriteOrder = { labels: [], later: [], impossible: [] }
  const left = new Set(labels)
  let edges = references
    .filter(({ child, parent }) => child !== parent && left.has(child) && left.has(parent))
    .flatMap((reference) => waitsOf(reference, nullableColumns(reference).length > 0))
  while (left.size > 0) {
    const waiting = new Set(edges.map(({ after }) => after))
    const free = [...left].filter((label) => !waiting.has(label))
    if (free.length > 0) {
      for (const label of free) {
        order.labels.push(label)
        left.delete(label)
      }
      edges = edges.filter(({ before }) => left.has(before))
      continue
    }
    const given = findRelease(edges)
    if (given === undefined) {
      order.impossible = [...left]
      order.labels.push(...left)
      break
    }
    if (given.kind === 'deferrable') edges = edges.filter(({ kind }) => kind !== 'deferrable')
    else {
      order.later.push(given.reference)
      edges = edges.filter((edge) => edge !== given)
    }
  }
  return order
}

interface Wait {
  before: string
  after: string
  kind: 'hard' | 'deferrable' | 'nullable'
  reference: Reference
}

function waitsOf(reference: Reference, isNullable: boolean): Wait[] {
  const { child, parent, isDeferrable, isOwnership, isBackward } = reference
  const waits: Wait[] = []
  if (isOwnership) waits.push({ before: parent, after: child, kind: 'hard', reference })
  else if (reference.oid !== null) {
    // A row that names what it owns can't come without it: its pointer is what lets the owned row in.
    const kind = isDeferrable ? 'deferrable' : isNullable && !isBackward ? 'nullable' : 'hard'
    waits.push({ before: parent, after: child, kind, reference })
  }
  if (isBackward) waits.push({ before: child, after: parent, kind: 'hard', reference })
  return waits
}

/** One that is part of a circle: what merely waits for the circle has nothing to give. */
function findRelease(edges: readonly Wait[]): Wait | undefined {
  const deferrable = edges.find(({ kind }) => kind === 'deferrable')
  if (deferrable !== undefined) return deferrable
  return edges.find((edge) => edge.kind === 'nullable' && reaches(edges, edge.after, edge.before))
}

function reaches(edges: readonly Wait[], from: string, to: string): boolean {
  const seen = new Set([from])
  const queue = [from]
  for (const label of queue) {
    for (const { before, after } of edges) {
      if (before !== label || seen.has(after)) continue
      if (after === to) return true
      seen.add(after)
      queue.push(after)
    }
  }
  return seen.has(to)
}
