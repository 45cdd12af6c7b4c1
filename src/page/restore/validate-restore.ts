import { RequestFailed } from '../calls/call-function.ts'
import { type Decision, isOpen, settleBlockers } from './restore-decisions.ts'
import type { Blocker, Errand, Report } from './run-restore.ts'

/** A rehearsal that was looked at, with everything that it asked and was answered. */
export interface Validation {
  report: Report
  decisions: Decision[]
  /** What no answer settles. */
  obstacles: Blocker[]
  /** Exactly what was rehearsed; the real one must ask the same. */
  errand: Errand
  validatedAt: Date
  /** It was about single rows, so what is not touched was not counted. */
  isPartial: boolean
}

/** Answers give new answers to give; a plan that still asks after so many would ask for ever. */
const MOST_ROUNDS = 8

export interface ValidationInput {
  isUndo: boolean
  isPartial: boolean
  /** Decisions from before, with an answer that a person changed. */
  known: readonly Decision[]
  picks: Readonly<Record<string, string>>
  /** The tables of the backup, as far as they are known. */
  tables: readonly string[]
  /** What to ask with these decisions; null where they leave nothing to do. */
  toErrand: (decisions: readonly Decision[], tables: readonly string[]) => Errand | null
  rehearse: (errand: Errand) => Promise<Report>
}

/**
 * Rehearses, answers what came up with what is safe or was answered before, and rehearses again until
 * nothing new comes up. So what a person is shown is what would be done, not what stood in its way. Throws
 * `RequestFailed`.
 */
export async function validate(input: ValidationInput): Promise<Validation> {
  const { isUndo, isPartial, picks, toErrand, rehearse } = input
  let { tables } = input
  let decisions: Decision[] = [...input.known]
  const firstRound = Math.max(0, ...decisions.map(({ round }) => round + 1))
  for (let round = firstRound; ; round += 1) {
    const errand = toErrand(decisions, tables)
    if (errand === null) {
      throw new RequestFailed('nothing_left', 'These answers leave nothing to restore.')
    }
    const report = await rehearse(errand)
    tables = [...new Set([...tables, ...report.tables.map(({ name }) => name)])]
    const settled = settleBlockers(decisions, report.blockers, { picks, round, isUndo })
    decisions = settled.decisions
    if (!settled.hasNewAnswers || round - firstRound >= MOST_ROUNDS) {
      const { obstacles } = settled
      return { report, decisions, obstacles, errand, validatedAt: new Date(), isPartial }
    }
  }
}

/** Whether it can be done as it was rehearsed. */
export function isReady({ report, obstacles, decisions }: Validation): boolean {
  return report.blockers.length === 0 && obstacles.length === 0 && !decisions.some(isOpen)
}

/** What was rehearsed, in earnest, under the key that never does it twice. */
export function toReal({ errand, report }: Validation, key: string, note = ''): Errand {
  return {
    name: errand.name,
    body: {
      ...errand.body,
      dry_run: false,
      plan_hash: report.planHash,
      idempotency_key: key,
      ...(note.trim() === '' ? {} : { note: note.trim() }),
    },
  }
}

export interface Totals {
  inserted: number
  updated: number
  deleted: number
  untouched: number
  /** Rows that are written. */
  written: number
}

/** The sums over all tables. */
export function addUp(
  { tables }: Pick<Report, 'tables'>,
  { isPartial = false }: { isPartial?: boolean } = {},
): Totals {
  const sum = (of: (table: Report['tables'][number]) => number) =>
    tables.reduce((total, table) => total + of(table), 0)
  const inserted = sum((table) => table.inserted)
  const updated = sum((table) => table.updated)
  const deleted = sum((table) => table.deleted)
  return {
    inserted,
    updated,
    deleted,
    untouched: isPartial ? 0 : sum(({ unchanged, kept }) => unchanged + kept),
    written: inserted + updated + deleted,
  }
}
