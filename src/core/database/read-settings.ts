import type { z } from 'zod'
import { BackupError } from '../errors.ts'
import type { Queryable } from './database.ts'

/**
 * Reads the settings that a shape names from `tenantkeep.settings`; what is not set has the shape's default.
 * Throws `not_configured` for a value that makes no sense.
 */
export async function readSettings<Shape extends z.ZodRawShape>(
  database: Queryable,
  shape: z.ZodObject<Shape>,
): Promise<z.infer<z.ZodObject<Shape>>> {
  const { rows } = await database.query<{ settings: unknown }>(
    `select coalesce(jsonb_object_agg(key, value), '{}') as settings from tenantkeep.settings
     where key = any ($1)`,
    [Object.keys(shape.shape)],
  )
  const parsed = shape.safeParse(rows[0]?.settings ?? {})
  if (parsed.success) return parsed.data
  const names = parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')
  throw new BackupError(
    'not_configured',
    `The setting ${names} in tenantkeep.settings has a value that can't be used. docs/operations.md lists what it may be.`,
  )
}
