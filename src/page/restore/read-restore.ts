import * as z from 'zod/mini'
import { type PageServices, readRows, time } from '../calls/call-function.ts'

const Restore = z.pipe(
  z.object({
    id: z.string(),
    type: z.enum(['restore', 'undo', 'seed_defaults']),
    status: z.enum(['running', 'complete', 'failed', 'cancelled', 'skipped']),
    createdAt: time,
    completedAt: z.nullable(time),
    actorLabel: z.string(),
    note: z.nullable(z.string()),
    details: z.catch(z.object({ source: z.object({ takenAt: z.nullable(time) }) }), {
      source: { takenAt: null },
    }),
  }),
  z.transform(({ details, ...restore }) => ({
    ...restore,
    /** The time that it went back to, where that is on record. */
    takenAt: details.source.takenAt,
  })),
)
/** A restore, or an undo of one, as the journal has it. */
export type Restore = z.infer<typeof Restore>

/** What it is called in a sentence. */
export function nounOf({ type }: Pick<Restore, 'type'>): string {
  return { restore: 'restore', undo: 'undo', seed_defaults: 'seeding' }[type]
}

/** A restore by its id; null where there is none, or it is not the reader's. Throws `RequestFailed`. */
export async function readRestore(
  { supabase }: PageServices,
  restoreId: string,
  signal: AbortSignal,
): Promise<Restore | null> {
  const answer = await supabase
    .from('backup_logs')
    .select(
      'id, type:backup_type, status, createdAt:created_at, completedAt:completed_at, actorLabel:actor_label, note, details',
    )
    .eq('id', restoreId)
    .in('backup_type', ['restore', 'undo', 'seed_defaults'])
    .limit(1)
    .abortSignal(signal)
  return readRows(Restore, answer)[0] ?? null
}
