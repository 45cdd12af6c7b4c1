import * as z from 'zod'
import type { Queryable } from '../database/database.ts'
import { readSettings } from '../database/read-settings.ts'

const ProofSettings = z.object({
  /** Stored bytes that verification in rotation may read on a day in UTC; 0 turns it off. */
  verify_bytes_per_day: z
    .int()
    .min(0)
    .default(1024 ** 3),
  /** Drills in rotation on a day in UTC; 0 turns them off. */
  drills_per_day: z.int().min(0).max(10_000).default(1),
})
export type ProofSettings = z.infer<typeof ProofSettings>

/** Reads the settings of proving backups. Throws `not_configured` for a value that makes no sense. */
export function readProofSettings(database: Queryable): Promise<ProofSettings> {
  return readSettings(database, ProofSettings)
}
