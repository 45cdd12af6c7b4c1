import type { RestoreOptions } from './restore-choices.ts'
import type { Blocker } from './run-restore.ts'

/**
 * What stands in the way of a restore, made into decisions that a person can take. A decision has a safe
 * answer that is taken until somebody says otherwise; what no answer settles is an obstacle.
 */

export type DecisionKind =
  | 'missing_user'
  | 'missing_reference'
  | 'key_taken'
  | 'referenced'
  | 'access_changes'
  | 'dropped'
  | 'changed_type'
  | 'side_effects'
  | 'row_refused'
  | 'actor_locked_out'
  | 'undo_conflict'

export type Answer =
  | 'empty'
  | 'leave_out'
  | 'bring'
  | 'keep_value'
  | 'keep'
  | 'leave_table'
  | 'accept'
  | 'take_back'
  /** Nothing is restored as long as this stands. */
  | 'stop'

export interface Decision {
  id: string
  kind: DecisionKind
  /** What it is about, table by table. */
  found: Finding[]
  /** Null where nobody may decide but a person, who has not yet. */
  answer: Answer | null
  /** Answers that were tried and did not settle it. */
  ruledOut: Answer[]
  /** In which rehearsal it came up. */
  round: number
}

export type Finding = Pick<Blocker, 'code' | 'table' | 'constraint' | 'count' | 'keys'>

/** What can be answered, in the order in which a person reads it. */
const ANSWERS: Record<DecisionKind, readonly Answer[]> = {
  missing_user: ['empty', 'leave_out'],
  missing_reference: ['bring', 'empty', 'leave_out'],
  key_taken: ['leave_out', 'keep_value'],
  referenced: ['keep'],
  access_changes: ['leave_table', 'accept'],
  dropped: ['accept', 'stop'],
  changed_type: ['accept', 'leave_table'],
  side_effects: ['stop', 'accept'],
  row_refused: ['stop', 'leave_table'],
  actor_locked_out: ['leave_table'],
  undo_conflict: ['keep', 'take_back'],
}

/** What is taken by itself, the safest first; where nothing is, a person has to decide. */
const SAFE: Record<DecisionKind, readonly Answer[]> = {
  missing_user: ['empty', 'leave_out'],
  missing_reference: ['bring', 'empty', 'leave_out'],
  key_taken: ['leave_out'],
  referenced: ['keep'],
  access_changes: ['leave_table'],
  dropped: ['accept'],
  changed_type: [],
  side_effects: ['stop'],
  row_refused: ['stop'],
  actor_locked_out: ['leave_table'],
  undo_conflict: ['keep'],
}

export function answersOf(kind: DecisionKind): readonly Answer[] {
  return ANSWERS[kind]
}

/** Whether it leaves the restore standing still. */
export function isOpen({ answer }: Decision): boolean {
  return answer === null || answer === 'stop'
}

/** What a blocker asks a person; null where nothing can be asked. */
function toKind(blocker: Blocker, isUndo: boolean): { kind: DecisionKind; id: string } | null {
  const { code, constraint, table } = blocker
  const plain = (kind: DecisionKind) => ({ kind, id: kind })
  switch (code) {
    case 'missing_user':
    case 'missing_reference':
    case 'key_taken':
    case 'referenced':
      // An undo has one answer for whatever got in its way since.
      return plain(isUndo ? 'undo_conflict' : code)
    case 'undo_conflict':
      return plain(code)
    case 'access_changes':
    case 'side_effects':
      return isUndo ? null : plain(code)
    case 'schema_changed':
      if (isUndo || constraint === null) return null
      return {
        kind: constraint.startsWith('changed_type:') ? 'changed_type' : 'dropped',
        id: `schema_changed ${constraint}`,
      }
    case 'row_refused':
      return isUndo ? null : { kind: code, id: `${code} ${table}` }
    case 'actor_locked_out':
      return isUndo || table === '' ? null : { kind: code, id: `${code} ${table}` }
    default:
      // `row_outside_tenant`, `read_only_table`, and what a later service may say.
      return null
  }
}

export interface Settled {
  decisions: Decision[]
  obstacles: Blocker[]
  /** Answers are new, so a rehearsal with them may get further. */
  hasNewAnswers: boolean
}

/**
 * Goes through what a rehearsal found in the way, with the decisions that were known before it. `picks` are
 * the answers that a person gave, by the decision's id.
 */
export function settleBlockers(
  known: readonly Decision[],
  blockers: readonly Blocker[],
  given: { picks: Readonly<Record<string, string>>; round: number; isUndo: boolean },
): Settled {
  const decisions = new Map(known.map((decision) => [decision.id, { ...decision }]))
  const obstacles: Blocker[] = []
  const failed = new Set<string>()
  const hasLeftOut = known.some(({ answer }) => answer === 'leave_table')
  let hasNewAnswers = false

  for (const blocker of blockers) {
    const asked = toKind(blocker, given.isUndo)
    if (asked === null) {
      obstacles.push(blocker)
      continue
    }
    const { id, kind } = asked
    const before = known.find((decision) => decision.id === id)
    const decision = decisions.get(id)
    if (decision === undefined) {
      // What was left out is not brought along by what refers to it.
      const without: Answer[] = hasLeftOut && kind === 'missing_reference' ? ['bring'] : []
      const answer = firstAnswer(kind, given.picks[id], [], without)
      decisions.set(id, {
        ...{ id, kind, answer, found: [toFinding(blocker)], ruledOut: [], round: given.round },
      })
      hasNewAnswers ||= answer !== null && answer !== 'stop'
      continue
    }
    decision.found = mergeFinding(decision.found, blocker)
    if (before === undefined || isOpen(before)) continue
    // A table more to leave out is no failure of leaving tables out.
    const isNewTable = !before.found.some(({ table }) => table === blocker.table)
    if (before.answer === 'leave_table' && isNewTable) hasNewAnswers = true
    else failed.add(id)
  }
  const links = known.find(({ id }) => id === 'missing_reference')
  for (const id of failed) {
    // A table that was left out came back because others refer to it: then they go without it.
    if (decisions.get(id)?.answer !== 'leave_table' || links?.answer !== 'bring') continue
    failed.delete(id)
    failed.add(links.id)
  }
  for (const id of failed) {
    const decision = decisions.get(id)
    if (decision === undefined || decision.answer === null) continue
    decision.ruledOut = [...decision.ruledOut, decision.answer]
    decision.answer = firstAnswer(decision.kind, undefined, decision.ruledOut)
    hasNewAnswers ||= !isOpen(decision)
  }
  return { decisions: [...decisions.values()], obstacles, hasNewAnswers }
}

function firstAnswer(
  kind: DecisionKind,
  pick: string | undefined,
  ruledOut: readonly Answer[],
  without: readonly Answer[] = [],
): Answer | null {
  const picked = ANSWERS[kind].find((answer) => answer === pick && !ruledOut.includes(answer))
  const isOffered = (answer: Answer) => !ruledOut.includes(answer) && !without.includes(answer)
  return picked ?? SAFE[kind].find(isOffered) ?? null
}

function toFinding({ code, table, constraint, count, keys }: Blocker): Finding {
  return { code, table, constraint, count, keys }
}

function mergeFinding(found: readonly Finding[], blocker: Blocker): Finding[] {
  const isSame = (other: Finding) =>
    other.code === blocker.code &&
    other.table === blocker.table &&
    other.constraint === blocker.constraint
  const known = found.find(isSame)
  if (known === undefined) return [...found, toFinding(blocker)]
  return found.map((other) =>
    isSame(other) && blocker.count > other.count ? toFinding(blocker) : other,
  )
}

/** Gives one another answer; what came up only after it is asked anew. */
export function answerDecision(
  decisions: readonly Decision[],
  id: string,
  answer: Answer,
): Decision[] {
  const changed = decisions.find((decision) => decision.id === id)
  if (changed === undefined) return [...decisions]
  return decisions
    .filter((decision) => decision.id === id || decision.round <= changed.round)
    .map((decision) => (decision.id === id ? { ...decision, answer } : decision))
}

/** Tables that are left as they are today, by answer. */
function leftOut(decisions: readonly Decision[]): Set<string> {
  return new Set(
    decisions
      .filter(({ answer }) => answer === 'leave_table')
      .flatMap(({ found }) => found.map(({ table }) => table)),
  )
}

/**
 * What was chosen, with the answers. `allTables`: of the backup, known once it was rehearsed. Null where
 * the answers leave nothing to restore.
 */
export function applyAnswers(
  options: RestoreOptions,
  decisions: readonly Decision[],
  allTables: readonly string[],
): RestoreOptions | null {
  const answerTo = (kind: DecisionKind) =>
    decisions.find((decision) => decision.kind === kind)?.answer
  const scope = narrow(options, leftOut(decisions), allTables)
  if (scope === null) return null
  const accepted = decisions
    .filter(
      ({ kind, answer }) => (kind === 'dropped' || kind === 'changed_type') && answer === 'accept',
    )
    .flatMap(({ found }) => found.flatMap(({ constraint }) => constraint ?? []))
  const people = answerTo('missing_user')
  const links = answerTo('missing_reference')
  const taken = answerTo('key_taken')
  return {
    ...options,
    ...scope,
    ...(people === 'empty' && { on_missing_user: 'null' }),
    ...(people === 'leave_out' && { on_missing_user: 'skip' }),
    ...(links === 'bring' && { on_missing_reference: 'restore' }),
    ...(links === 'empty' && { on_missing_reference: 'null' }),
    ...(links === 'leave_out' && { on_missing_reference: 'skip' }),
    ...(taken === 'leave_out' && { on_taken: 'skip' }),
    ...(taken === 'keep_value' && { on_taken: 'keep_live' }),
    ...(answerTo('referenced') === 'keep' && { on_referenced: 'keep' }),
    ...(answerTo('access_changes') === 'accept' && { accept_access_changes: true }),
    ...(answerTo('side_effects') === 'accept' && { accept_side_effects: true }),
    ...(accepted.length > 0 && { accept_schema_changes: accepted }),
  }
}

function narrow(
  { tables, rows }: RestoreOptions,
  without: ReadonlySet<string>,
  allTables: readonly string[],
): Pick<RestoreOptions, 'tables' | 'rows'> | null {
  if (without.size === 0) return { tables, rows }
  if (rows !== null) {
    const kept = Object.entries(rows).filter(([table]) => !without.has(table))
    return kept.length === 0 ? null : { tables: null, rows: Object.fromEntries(kept) }
  }
  const kept = (tables ?? allTables).filter((table) => !without.has(table))
  return kept.length === 0 ? null : { tables: kept, rows: null }
}

/** What an undo is to do about rows that somebody changed since; undefined as long as nobody knows of any. */
export function conflictAnswer(decisions: readonly Decision[]): 'keep' | 'undo' | undefined {
  const answer = decisions.find(({ kind }) => kind === 'undo_conflict')?.answer
  if (answer === 'keep') return 'keep'
  return answer === 'take_back' ? 'undo' : undefined
}
