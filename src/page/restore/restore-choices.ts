import * as z from 'zod/mini'
import { keep, readKept } from '../frame/kept-in-tab.ts'

/**
 * What a person chose on the way to a restore. It lies in the tab's session storage until the restore is
 * done, so that a reload, the back button and signing in again keep it.
 */

const side = z.enum(['restore', 'keep'])

const Choices = z.object({
  scope: z.enum(['everything', 'tables', 'rows']),
  /** Names, where only some tables are wanted. */
  tables: z.array(z.string()),
  manner: z.enum(['missing', 'changes', 'exact', 'each']),
  /** One switch each; they count where the manner is `each`. */
  missing: side,
  changed: side,
  newer: side,
  /** Newer entries of tables that are a trail of what happened. */
  history: side,
})
export type Choices = z.infer<typeof Choices>
export type Manner = Choices['manner']
type Side = z.infer<typeof side>

/** The harmless one: nothing that exists is touched. */
export const FIRST_CHOICES: Choices = {
  scope: 'everything',
  tables: [],
  manner: 'missing',
  missing: 'restore',
  changed: 'keep',
  newer: 'keep',
  history: 'keep',
}

export type RowKeys = Record<string, Record<string, string>[]>

/** What `restore-tenant-data` takes, as far as this page uses it. */
export interface RestoreOptions {
  tables: string[] | null
  rows: RowKeys | null
  missing: Side
  changed: Side
  newer: Side
  history: Side
  on_missing_user?: 'null' | 'skip'
  on_missing_reference?: 'restore' | 'null' | 'skip'
  on_taken?: 'skip' | 'keep_live'
  on_referenced?: 'keep'
  accept_access_changes?: boolean
  accept_schema_changes?: string[]
  accept_side_effects?: boolean
}

const MANNERS: Record<Exclude<Manner, 'each'>, Record<'missing' | 'changed' | 'newer', Side>> = {
  missing: { missing: 'restore', changed: 'keep', newer: 'keep' },
  changes: { missing: 'restore', changed: 'restore', newer: 'keep' },
  exact: { missing: 'restore', changed: 'restore', newer: 'restore' },
}

/** What was chosen, as a request has it. Rows that were ticked one by one come back exactly as they were. */
export function toOptions(choices: Choices, ticked: RowKeys | null): RestoreOptions {
  if (choices.scope === 'rows') {
    return { tables: null, rows: ticked ?? {}, ...MANNERS.exact, history: 'restore' }
  }
  const { manner, missing, changed, newer, history } = choices
  return {
    tables: choices.scope === 'tables' ? choices.tables : null,
    rows: null,
    ...(manner === 'each' ? { missing, changed, newer } : MANNERS[manner]),
    history: manner === 'each' && newer === 'restore' ? history : 'keep',
  }
}

/** Why it can't go on like this, beside what is to be put right; null where it can. */
export function findFault(
  choices: Choices,
  ticked: RowKeys | null,
): { field: 'tables' | 'rows' | 'each'; text: string } | null {
  if (choices.scope === 'tables' && choices.tables.length === 0) {
    return { field: 'tables', text: 'Tick at least one table.' }
  }
  if (choices.scope === 'rows') {
    return countRows(ticked) > 0
      ? null
      : {
          field: 'rows',
          text: 'No row is ticked any more. Tick rows in a comparison, or choose tables.',
        }
  }
  const { manner, missing, changed, newer } = choices
  if (manner === 'each' && missing === 'keep' && changed === 'keep' && newer === 'keep') {
    return {
      field: 'each',
      text: 'With these answers nothing would be restored. Change one of them.',
    }
  }
  return null
}

export function countRows(rows: RowKeys | null): number {
  return Object.values(rows ?? {}).reduce((sum, keys) => sum + keys.length, 0)
}

const Draft = z.object({
  choices: Choices,
  /** Answers that a person gave to decisions, by the decision's id. */
  picks: z.record(z.string(), z.string()),
  note: z.string(),
  /** Rehearsals that were begun, by exactly what they were asked, so that a reload begins none anew. */
  rehearsals: z.record(z.string(), z.object({ runId: z.string(), at: z.number() })),
  /** Made when the last step opened for this plan: the same key never restores twice. */
  key: z.nullable(z.object({ planHash: z.string(), key: z.string() })),
  /** What a plan said that no longer holds. */
  stale: z.nullable(z.string()),
})
export type Draft = z.infer<typeof Draft>

export const FIRST_DRAFT: Draft = {
  choices: FIRST_CHOICES,
  picks: {},
  note: '',
  rehearsals: {},
  key: null,
  stale: null,
}

const Started = z.object({
  key: z.string(),
  /** Null until the service has said which run it is. */
  runId: z.nullable(z.string()),
})
/** A restore or undo that was asked for in this tab. */
export type Started = z.infer<typeof Started>

/**
 * Where a person's way to one restore lies. `userId`: what one person chose, and the key under which they
 * pressed, is nothing to the next one who signs in here. `id`: of the backup, or of the restore to undo.
 */
export function placeOfWay(userId: string, id: string): string {
  return `tenantkeep:restore:${userId}:${id}`
}

/** What was chosen so far; null where nothing was. */
export function readDraft(place: string): Draft | null {
  return readKept(place, Draft)
}

/** Keeps it; null forgets it. A browser that keeps nothing forgets on a reload, and that is all. */
export function keepDraft(place: string, draft: Draft | null): void {
  keep(place, draft)
}

/** What was pressed here; null where nothing was, or the next way has begun. */
export function readStarted(place: string): Started | null {
  return readKept(`${place}:started`, Started)
}

export function keepStarted(place: string, started: Started | null): void {
  keep(`${place}:started`, started)
}

/** The service said which run it is that was pressed here. */
export function keepStartedRun(place: string, runId: string): void {
  const pressed = readStarted(place)
  if (pressed !== null) keepStarted(place, { ...pressed, runId })
}

/**
 * Back to the plan after a press that changed nothing: what was chosen stays, the plan is made again, and so
 * is the key. `isStale`: the plan no longer held, so what it said is shown beside the new one. Returns whether
 * anything was chosen here.
 */
export function reopenDraft(place: string, { isStale }: { isStale: boolean }): boolean {
  const draft = readDraft(place)
  if (draft !== null) {
    const stale = isStale ? draft.stale : null
    keepDraft(place, { ...draft, rehearsals: {}, key: null, stale })
  }
  keepStarted(place, null)
  return draft !== null
}

/** The key under which this plan is carried out: the same plan never gets a second one. */
export function keyOf(draft: Draft, planHash: string): string {
  return draft.key?.planHash === planHash ? draft.key.key : crypto.randomUUID()
}
