import * as z from 'zod/mini'
import { callFunction, check, type PageServices, time } from '../calls/call-function.ts'

const Keep = z.pipe(
  z.object({
    is_kept: z.boolean(),
    reasons: z.array(z.object({ code: z.string(), message: z.string(), until: z.nullable(time) })),
  }),
  z.transform(({ is_kept: isKept, reasons }) => ({
    /** False: the next pruning removes it. */
    isKept,
    /** All that keep it, each with its end where that is known; or the one why it goes. */
    reasons,
  })),
)
/** What the retention policy makes of a backup at this moment. */
export type Keep = z.infer<typeof Keep>

const Answer = z.object({
  backups: z.array(
    z.object({ backup_id: z.string(), keep: z.nullable(Keep), is_copied: z.boolean() }),
  ),
})

export interface Keeping {
  keep: Keep
  /** It is whole in a second place, too. */
  isCopied: boolean
}

/** Why backups of a tenant are kept and for how long, by id; of those that are complete. Throws `RequestFailed`. */
export async function readKeeping(
  services: PageServices,
  { tenantId, backupIds }: { tenantId: string; backupIds: readonly string[] },
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Keeping>> {
  const body = { organization_id: tenantId, backup_ids: backupIds, limit: 500 }
  const { backups } = check(Answer, await callFunction(services, 'list-backups', body, signal))
  return new Map(
    backups.flatMap(({ backup_id: id, keep, is_copied: isCopied }) =>
      keep === null ? [] : [[id, { keep, isCopied }] as const],
    ),
  )
}
