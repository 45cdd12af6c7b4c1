/**
 * Installing over what `uninstall` left: catalog and journal of an earlier installation, perhaps in an
 * older shape. They are set aside in a schema of their own, the migrations make the tables anew, and the
 * rows are copied over, column by column of the same name. Every step can be repeated after a stop.
 */
import type { Connection } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { BackupError } from '../errors.ts'
import { quoteColumns } from './quote-identifier.ts'

const ASIDE = 'tenantkeep_kept'
/** The journal names backups, so these come first. */
const TABLES = ['tenant_backups', 'backup_logs'] as const
/** By which one of ours is known. */
const OURS = {
  tenant_backups: ['organization_id', 'object_stamp', 'summary_sha256'],
  backup_logs: ['organization_id', 'backup_type', 'actor_label'],
}

/**
 * To be called before the first migration. Throws `invalid_request` where the database has a table of
 * that name that is not ours.
 */
export async function setKeptCatalogAside(connection: Connection): Promise<void> {
  const kept: string[] = []
  for (const table of TABLES) {
    const columns = await readColumns(connection, 'public', table)
    if (columns === null) continue
    if (OURS[table].some((column) => !columns.includes(column))) {
      throw new BackupError(
        'invalid_request',
        `There is a table public.${table} that is not Tenantkeep's. Rename it: Tenantkeep keeps its own there.`,
      )
    }
    kept.push(table)
  }
  if (kept.length === 0) return
  await inTransaction(connection, async () => {
    await connection.query(`create schema if not exists ${ASIDE}`)
    await connection.query(`revoke all on schema ${ASIDE} from public`)
    for (const table of kept) {
      await connection.query(`alter table public.${table} set schema ${ASIDE}`)
    }
  })
}

/** To be called after the last migration. Runs are not kept, so no row names one. */
export async function takeKeptCatalogBack(connection: Connection): Promise<void> {
  if (!(await hasSchema(connection))) return
  await inTransaction(connection, async () => {
    for (const table of TABLES) {
      const kept = await readColumns(connection, ASIDE, table)
      const live = await readColumns(connection, 'public', table)
      if (kept === null || live === null) continue
      const shared = kept.filter((column) => column !== 'run_id' && live.includes(column))
      await connection.query(
        `insert into public.${table} (${quoteColumns(shared)})
         select ${quoteColumns(shared)} from ${ASIDE}.${table} on conflict do nothing`,
      )
    }
    await connection.query(`drop table if exists ${ASIDE}.backup_logs, ${ASIDE}.tenant_backups`)
    await connection.query(`drop schema ${ASIDE}`)
  })
}

async function hasSchema(connection: Connection): Promise<boolean> {
  const { rows } = await connection.query(
    'select from pg_catalog.pg_namespace where nspname = $1',
    [ASIDE],
  )
  return rows.length > 0
}

async function readColumns(
  connection: Connection,
  schema: string,
  table: string,
): Promise<string[] | null> {
  const { rows } = await connection.query<{ columns: string[] }>(
    `select array(
       select a.attname::text from pg_catalog.pg_attribute a
       where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
       order by a.attnum
     ) as columns
     from pg_catalog.pg_class c
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relname = $2`,
    [schema, table],
  )
  return rows[0]?.columns ?? null
}
