import { BackupError } from '../errors.ts'
import type { Queryable } from './database.ts'

/**
 * What a value's text depends on. Pinned at backup and at restore alike, so that the same row has the
 * same text whatever the server, the database or the role have been told.
 */
const EXACT_TEXT = {
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  extra_float_digits: '3',
  bytea_output: 'hex',
  TimeZone: 'UTC',
  lc_monetary: 'C',
  xmloption: 'content',
  // Off turns NULL inside an array into the text 'NULL' while loading, without a word.
  array_nulls: 'on',
  quote_all_identifiers: 'off',
  client_encoding: 'UTF8',
} as const

/**
 * For data sessions: what Supabase sets for its disks. With Postgres' own 4 (for disks that seek) a table
 * two steps from its tenant is read whole, although the index would find the tenant's rows.
 */
const PLANNER = { random_page_cost: '1.1' } as const

/** `control`: short statements. `data`: copies of any length. */
export type SessionKind = 'control' | 'data'

const TIME_LIMITS = {
  control: { statement_timeout: '1min', idle_in_transaction_session_timeout: '1min' },
  data: { statement_timeout: '0', idle_in_transaction_session_timeout: '10min' },
} as const satisfies Record<SessionKind, Record<string, string>>

/**
 * A backend whose client vanished without a word still holds locks and a snapshot: half a minute of
 * silence, then probes. Not read back, since they have no meaning on a local socket.
 */
const KEEPALIVE = {
  tcp_keepalives_idle: '30',
  tcp_keepalives_interval: '10',
  tcp_keepalives_count: '6',
} as const

/**
 * Pins a fresh session: exact text, time limits, `pg_catalog` in front of the database's own search
 * path (functions of the host in checks and index expressions may name things unqualified). Reads the
 * settings back, because a pooler in transaction mode loses them. Throws `encoding_not_exact`.
 */
export async function pinSession(session: Queryable, kind: SessionKind): Promise<void> {
  const settings = {
    ...EXACT_TEXT,
    ...TIME_LIMITS[kind],
    ...(kind === 'data' ? PLANNER : {}),
  }
  await session.query(
    `select set_config('search_path', concat_ws(', ', 'pg_catalog', nullif(current_setting('search_path'), '')), false),
            (select count(set_config(s.name, s.value, false)) from json_each_text($1::json) as s (name, value))`,
    [JSON.stringify({ ...settings, ...KEEPALIVE })],
  )

  const { rows } = await session.query<{ name: string }>(
    `select w.name
       from json_each_text($1::json) as w (name, value)
      where current_setting(w.name) is distinct from w.value
     union all
     select 'search_path' where current_setting('search_path') !~ '^pg_catalog'`,
    [JSON.stringify(settings)],
  )
  if (rows.length > 0) {
    const names = rows.map((row) => row.name).join(', ')
    throw new BackupError(
      'encoding_not_exact',
      `The database session did not keep its settings (${names}). Use a direct connection or the pooler's session mode (port 5432), not its transaction mode.`,
      { details: { settings: rows.map((row) => row.name) } },
    )
  }
}
