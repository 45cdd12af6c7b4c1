import type { Database } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import { type Finding, finding } from './finding.ts'

const COUNT_TIME_MS = 10_000

/** Files in Storage are not covered: says so wherever there is a Storage, with their number where we may count. */
export async function checkFiles(database: Database, storeUrl: string | null): Promise<Finding[]> {
  const { rows } = await database.query<{ exists: boolean }>(
    `select exists (
       select from pg_catalog.pg_class c
       join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       where n.nspname = 'storage' and c.relname = 'objects'
     ) as exists`,
  )
  if (rows[0]?.exists !== true) return []
  const ours = /^supabase:\/\/([^/]+)/.exec(storeUrl ?? '')?.[1] ?? null
  const files = await countFiles(database, ours)
  if (files === 0) return []
  return [
    finding('files_not_covered', {
      subject: 'storage.objects',
      message: `${files === null ? 'Files' : `${files.toLocaleString('en-US')} files`} in Supabase Storage are in no backup: only rows of the database are.`,
      remedy: 'copy the buckets elsewhere by other means (the S3 endpoint of Storage, rclone)',
    }),
  ]
}

/** Null where we may not count, or where there are too many to count in time. */
async function countFiles(database: Database, ours: string | null): Promise<number | null> {
  try {
    return await database.withConnection((connection) =>
      inTransaction(connection, async () => {
        await connection.query(`set local statement_timeout = ${COUNT_TIME_MS}`)
        const { rows } = await connection.query<{ files: string; isWhole: boolean }>(
          `select count(*) as files,
             (select r.rolbypassrls or r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user) as "isWhole"
           from storage.objects where bucket_id is distinct from $1`,
          [ours],
        )
        return rows[0]?.isWhole === true ? Number(rows[0].files) : null
      }),
    )
  } catch (error) {
    if (hasSqlstate(error, 'insufficientPrivilege', 'queryCanceled')) return null
    throw error
  }
}
