import * as z from 'zod/mini'
import { toDecisions } from './describe-seeding.ts'
import { Mode, type SeedRequest, toSeedBody, Verdict } from './read-seeding.ts'

const Picked = z.record(z.string(), Verdict)

/** What was chosen on the way to a seeding. It lies in the tab, so that a reload and a step back keep it. */
export const SeedDraft = z.object({
  isAll: z.boolean(),
  tenants: z.array(z.object({ id: z.string(), name: z.string() })),
  /** Null for all that take part. */
  tables: z.nullable(z.array(z.string())),
  mode: Mode,
  /** Answers, by question or row. */
  picks: Picked,
  /** Those that the last rehearsal was asked with. */
  asked: Picked,
  note: z.string(),
  /** The same key finds the rehearsal that was made of exactly this. */
  rehearsal: z.nullable(z.object({ body: z.string(), key: z.string() })),
  /** Made when the last step opened for this plan: the same key never seeds twice. */
  start: z.nullable(z.object({ planHash: z.string(), key: z.string() })),
  /** What was asked for in earnest, until the service says which run it is. */
  launch: z.nullable(z.object({ body: z.string(), key: z.string() })),
})
export type SeedDraft = z.infer<typeof SeedDraft>

export const FIRST_SEED_DRAFT: SeedDraft = {
  isAll: false,
  tenants: [],
  tables: null,
  mode: 'missing',
  picks: {},
  asked: {},
  note: '',
  rehearsal: null,
  start: null,
  launch: null,
}

/** What was chosen, as a request: a rehearsal, or in earnest what that showed. */
export function toRequest(draft: SeedDraft, planHash: string | null): Record<string, unknown> {
  const request: SeedRequest = {
    tenantIds: draft.isAll ? null : draft.tenants.map(({ id }) => id),
    tables: draft.tables,
    mode: draft.mode,
    decisions: toDecisions(draft.asked),
    planHash,
    note: planHash === null ? '' : draft.note,
  }
  return toSeedBody(request)
}

/** Whether answers were given that the last rehearsal does not know. */
export function hasNewPicks({ picks, asked }: Pick<SeedDraft, 'picks' | 'asked'>): boolean {
  const ids = new Set([...Object.keys(picks), ...Object.keys(asked)])
  return [...ids].some((id) => picks[id] !== asked[id])
}

/** Why it can't go on like this, beside what is to be put right; null where it can. */
export function findSeedFault(
  draft: SeedDraft,
): { field: 'tenants' | 'tables'; text: string } | null {
  if (!draft.isAll && draft.tenants.length === 0) {
    return { field: 'tenants', text: 'Tick at least one tenant.' }
  }
  if (draft.tables?.length === 0) return { field: 'tables', text: 'Tick at least one table.' }
  return null
}
