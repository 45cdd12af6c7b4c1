import { formatCount, formatPlural } from '../frame/format.ts'
import { nameTable } from '../frame/name-table.ts'
import { nameKey } from './describe-column.ts'
import {
  type Conflict,
  DECIDED_CASES,
  type DecidedCase,
  type Mode,
  type SeedDecision,
  type SeedOutcome,
  type SeedStep,
  type Verdict,
} from './read-seeding.ts'

/** What becomes of rows that are there; what it costs stands beside it. */
export const MODES: Record<Mode, { label: string; trap: string }> = {
  missing: {
    label: 'Add what is missing',
    trap: 'Nothing that a tenant has is changed.',
  },
  update: {
    label: 'Also bring copies up to date',
    trap: 'Copies that a tenant left alone get the template’s new values. What a tenant edited stays.',
  },
  overwrite: {
    label: 'Also overwrite what tenants edited',
    trap: 'Copies become as the template is; edits of the tenant are lost. A safety backup is taken first.',
  },
}

/** The answers to a case, in the order in which a person reads them. */
const VERDICTS: Record<DecidedCase, readonly Verdict[]> = {
  natural_key_taken: ['keep', 'adopt', 'overwrite'],
  both_changed: ['keep', 'overwrite'],
  edited: ['keep', 'overwrite'],
  deleted: ['keep', 'recreate'],
}

/** How an answer reads for a case, and what it costs. */
export function describeVerdicts(
  kind: DecidedCase,
): { verdict: Verdict; label: string; trap: string }[] {
  const own = kind === 'natural_key_taken'
  const words: Record<Verdict, { label: string; trap: string }> = {
    keep:
      kind === 'deleted'
        ? { label: 'Leave them deleted', trap: 'The tenant did not want them.' }
        : own
          ? {
              label: 'Leave the tenant’s own row',
              trap: 'It stays as it is, and is not asked about again.',
            }
          : { label: 'Leave what the tenant has', trap: 'The template’s new values don’t arrive.' },
    adopt: {
      label: 'Take it for the copy',
      trap: 'It stays as it is, and counts as the copy from now on: later it can be brought up to date.',
    },
    overwrite: {
      label: 'Write the template’s values over it',
      trap: 'The tenant’s values are lost. A safety backup is taken first.',
    },
    recreate: { label: 'Bring them back', trap: 'The tenant gets rows that it had deleted.' },
  }
  return VERDICTS[kind].map((verdict) => ({ verdict, ...words[verdict] }))
}

/** What a case means, of so many rows of a table. */
export function describeCase(
  kind: DecidedCase,
  table: string,
  rows: number,
  tenants: number,
): string {
  const name = nameTable(table)
  const some = formatPlural(rows, 'row')
  const whom = tenants === 1 ? 'the tenant' : formatPlural(tenants, 'tenant')
  const has = tenants === 1 ? 'has' : 'have'
  const own = tenants === 1 ? 'its' : 'their'
  switch (kind) {
    case 'natural_key_taken':
      return `${name}: ${whom} ${has} ${own} own row with the same name or number as ${some} of the template`
    case 'both_changed':
      return `${name}: ${some} changed on both sides, in the template and by ${whom}`
    case 'edited':
      return `${name}: ${whom} edited ${formatPlural(rows, 'copy', { plural: 'copies' })}; the template is as it was`
    case 'deleted':
      return `${name}: ${whom} deleted ${formatPlural(rows, 'copy', { plural: 'copies' })}`
  }
}

/** One row of the template about which several tenants may have to be decided. */
export interface QuestionRow {
  id: string
  key: Record<string, string>
  name: string
  found: { tenant: string; columns: Conflict['columns'] }[]
}

/** What has to be, or can be, decided about one table. */
export interface Question {
  id: string
  case: DecidedCase
  table: string
  /** Nothing is written as long as nobody has answered. */
  isConflict: boolean
  /** How many rows of tenants it is about. */
  count: number
  tenants: number
  /** Those that are listed; none where the service only counts. */
  rows: QuestionRow[]
}

export type Picks = Readonly<Record<string, Verdict>>

const idOf = (kind: DecidedCase, table: string, key: Record<string, string> | null = null) =>
  JSON.stringify([kind, table, key])

/**
 * What a rehearsal asks, by case and table, conflicts first. A decision is about a row of the template, for
 * all chosen tenants alike. `known`: what earlier rehearsals asked, which their answers have settled since.
 */
export function findQuestions(
  tenants: readonly SeedOutcome[],
  { mode, templateId, known }: { mode: Mode; templateId: string; known: readonly Question[] },
): Question[] {
  const questions = new Map<string, Question>()
  const concerned = new Map<string, Set<string>>()
  const ask = (kind: DecidedCase, table: string, isConflict: boolean, tenant: string) => {
    const id = idOf(kind, table)
    const question = questions.get(id) ?? {
      ...{ id, case: kind, table, isConflict, count: 0, tenants: 0, rows: [] },
    }
    question.isConflict ||= isConflict
    questions.set(id, question)
    const whose = concerned.get(id) ?? new Set()
    concerned.set(id, whose.add(tenant))
    question.tenants = whose.size
    return question
  }
  for (const { name: tenant, result } of tenants) {
    if (result === null) continue
    for (const { table, case: kind, key, label, columns } of result.conflicts) {
      const question = ask(kind, table, true, tenant)
      question.count += 1
      const id = idOf(kind, table, key)
      let row = question.rows.find((listed) => listed.id === id)
      if (row === undefined) {
        row = { id, key, name: label ?? nameKey(key, templateId), found: [] }
        question.rows.push(row)
      }
      row.found.push({ tenant, columns })
    }
    for (const { name: table, cases } of result.tables) {
      for (const kind of OPTIONAL[mode]) {
        const rows = cases[kind] ?? 0
        if (rows > 0) ask(kind, table, false, tenant).count += rows
      }
    }
  }
  for (const question of known) {
    if (!questions.has(question.id)) questions.set(question.id, question)
    else if (question.rows.length > 0) {
      const asked = questions.get(question.id)
      if (asked === undefined) continue
      const more = question.rows.filter(({ id }) => !asked.rows.some((row) => row.id === id))
      asked.rows.push(...more)
      asked.count = Math.max(asked.count, question.count)
      asked.tenants = Math.max(asked.tenants, question.tenants)
    }
  }
  return [...questions.values()].sort(
    (a, b) =>
      Number(b.isConflict) - Number(a.isConflict) ||
      DECIDED_CASES.indexOf(a.case) - DECIDED_CASES.indexOf(b.case) ||
      a.table.localeCompare(b.table),
  )
}

/** What nobody has to decide and yet can: the mode decides it otherwise. */
const OPTIONAL: Record<Mode, readonly DecidedCase[]> = {
  missing: ['deleted'],
  update: ['edited', 'deleted'],
  overwrite: ['edited', 'both_changed', 'deleted'],
}

/** What happens where nobody answers; null where somebody has to. */
export function answerWithout({ case: kind, isConflict }: Question, mode: Mode): Verdict | null {
  if (isConflict) return null
  return mode === 'overwrite' && kind !== 'deleted' ? 'overwrite' : 'keep'
}

/** The answer that holds for a row, of its own or of its table. */
export function answerOf(
  picks: Picks,
  question: Question,
  row: QuestionRow | null,
  mode: Mode,
): Verdict | null {
  const own = row === null ? undefined : picks[row.id]
  return own ?? picks[question.id] ?? answerWithout(question, mode)
}

/** Whether nobody has said yet what becomes of some of its rows. */
export function isOpen(question: Question, picks: Picks, mode: Mode): boolean {
  if (answerOf(picks, question, null, mode) !== null) return false
  const isListed = question.rows.length > 0
  return !isListed || question.rows.some((row) => picks[row.id] === undefined)
}

/** The answers as the service takes them; the nearest counts. */
export function toDecisions(picks: Picks): SeedDecision[] {
  return Object.entries(picks).map(([id, decision]) => {
    const [kind, table, key] = JSON.parse(id)
    return { case: kind, table, key, decision }
  })
}

export interface SeedTotals {
  inserted: number
  updated: number
  adopted: number
}

/** What is written to one tenant or to all. */
export function sumUp(tenants: readonly SeedOutcome[]): SeedTotals {
  const tables = tenants.flatMap(({ result }) => result?.tables ?? [])
  const sum = (of: keyof SeedTotals) => tables.reduce((total, table) => total + table[of], 0)
  return { inserted: sum('inserted'), updated: sum('updated'), adopted: sum('adopted') }
}

/** `12 rows are added, 3 overwritten`; for a rehearsal `would be`. */
export function describeTotals(totals: SeedTotals, { isDone }: { isDone: boolean }): string {
  const verb = (rows: number) => (isDone ? (rows === 1 ? 'was' : 'were') : 'would be')
  const parts = [
    [totals.inserted, 'added'],
    [totals.updated, 'overwritten'],
    [totals.adopted, 'taken for copies'],
  ] as const
  const said = parts
    .filter(([rows]) => rows > 0)
    .map(([rows, word]) => `${formatPlural(rows, 'row')} ${verb(rows)} ${word}`)
  if (said.length > 0) return `${said.join(', ')}.`
  return isDone ? 'Nothing had to be written.' : 'Nothing would be written.'
}

/** What a tenant ends with, in a few words; for a rehearsal `would be`. */
export function describeOutcome(outcome: SeedOutcome, { isDone }: { isDone: boolean }): string {
  const { inserted, updated, adopted } = sumUp([outcome])
  const verb = isDone ? '' : 'would be '
  const parts = [
    inserted > 0 ? `${formatCount(inserted)} ${verb}added` : '',
    updated > 0 ? `${formatCount(updated)} ${verb}overwritten` : '',
    adopted > 0 ? `${formatCount(adopted)} ${verb}taken for copies` : '',
  ].filter((part) => part !== '')
  return parts.length === 0 ? 'nothing to write' : parts.join(', ')
}

const CASE_WORDS: Record<string, (rows: string) => string> = {
  new: (rows) => `${rows} new`,
  unchanged: (rows) => `${rows} the same`,
  update: (rows) => `${rows} older than the template`,
  edited: (rows) => `${rows} edited by the tenant`,
  both_changed: (rows) => `${rows} changed on both sides`,
  deleted: (rows) => `${rows} deleted by the tenant`,
  natural_key_taken: (rows) => `${rows} with a row of its own`,
  declined: (rows) => `${rows} declined`,
  skipped: (rows) => `${rows} left out, as what they refer to is`,
}

/** How the rows of a table stand with a tenant: `8 new, 2 edited by the tenant`. */
export function describeCases(cases: Readonly<Record<string, number>>): string {
  return Object.entries(cases)
    .filter(([, rows]) => rows > 0)
    .map(([name, rows]) => CASE_WORDS[name]?.(formatCount(rows)) ?? `${formatCount(rows)} ${name}`)
    .join(', ')
}

/** Why the seeding of a tenant can't be done, or failed, in words. */
export function describeObstacle(code: string, message: string): string {
  const words: Record<string, string> = {
    tenant_busy:
      'A backup, restore or seeding of it was under way. Nothing was written; try it again.',
    plan_stale:
      'Its data, or the template, changed since the rehearsal. Nothing was written; rehearse it again.',
    seed_conflict: 'Rows need a decision. Nothing was written.',
    tenant_paused: 'It is paused and was left out.',
  }
  return words[code] ?? message
}

const PHASES: Record<string, string> = {
  locking: 'Waiting for its turn',
  reading_template: 'Reading the template',
  safety_backup: 'Taking the safety backup',
  planning: 'Comparing',
  writing: 'Writing',
  proving: 'Proving the result',
  finishing: 'Finishing',
}

/** What a single tenant's seeding does at the moment. */
export function describeSeedStep({ phase, table, rowsDone, rowsTotal }: SeedStep): string {
  const words = PHASES[phase] ?? phase.replaceAll('_', ' ')
  if (table === null) return words
  const rows =
    rowsTotal > 0 ? `, ${formatCount(rowsDone)} of ${formatPlural(rowsTotal, 'row')}` : ''
  return `${words}: ${nameTable(table)}${rows}`
}
