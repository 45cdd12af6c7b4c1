/**
 * Settles tables that no path leads from, where catalog and rows leave no doubt: lookups that most tenants
 * use, the records of migration tools, and what hangs on such tables. Everything else is asked about.
 */
import { inboundKeys, type Usage } from './find-evidence.ts'
import { type HostTable, tableName } from './host-table.ts'
import { wordsOf } from './propose-marks.ts'
import type { Registry } from './render-path.ts'

/** Whether most of the rows in use are used by two tenants or more, so that they can't be one tenant's. Pure. */
export function isLookup(usage: Usage | null): boolean {
  return usage !== null && usage.shared > 0 && usage.shared * 2 > usage.used
}

const STEP =
  /^(version|migration|migration_name|name|filename|file_name|script|hash|checksum|id|revision|version_num|version_id)$/
const DONE =
  /(_at|_on|_by|_time|batch|success|dirty|state|status|date|^md5sum|^checksum|^hash|rank|statements|timestamp)$/

/**
 * Whether a table is what a migration tool keeps for itself: it is called so, refers to nothing, and its
 * columns say which steps were taken. Pure.
 */
export function isBookkeeping(table: HostTable, catalog: readonly HostTable[]): boolean {
  const words = wordsOf(table.name)
  const name = words.join('')
  const isCalledSo =
    /migrations?$|changelog(lock)?$|schemaversions?$|schemahistory$|(^|schema)migrations?(history|lock)?$/.test(
      name,
    ) ||
    words.includes('migration') ||
    words.includes('migrations') ||
    (words.includes('alembic') && words.includes('version'))
  if (!isCalledSo || table.foreignKeys.length > 0 || table.columns.length > 16) return false
  const isReferredTo = catalog.some((other) =>
    other.foreignKeys.some((key) => `${key.targetSchema}.${key.targetTable}` === tableName(table)),
  )
  if (isReferredTo) return false
  const columns = table.columns.map((column) => wordsOf(column.name).join('_'))
  return columns.some((column) => STEP.test(column)) || columns.some((column) => DONE.test(column))
}

const LOG = new Set([
  'log',
  'logs',
  'audit',
  'audits',
  'event',
  'events',
  'history',
  'job',
  'jobs',
  'queue',
  'queues',
  'cache',
  'caches',
  'session',
  'sessions',
  'outbox',
  'inbox',
  'webhook',
  'webhooks',
  'lock',
  'locks',
  'metrics',
  'stats',
  'heartbeat',
  'heartbeats',
  'tmp',
  'temp',
  'backup',
  'bak',
  'old',
  'staging',
])

/** Whether a table's name says that it is a log, a queue, or something left behind. Pure. */
export function isLogLike(table: HostTable): boolean {
  return wordsOf(table.name).some((word) => LOG.has(word))
}

export type Followed = { class: 'shared' } | { class: 'excluded'; reason: string }

/**
 * What tables are that hang on shared or excluded ones by foreign key. A table follows a shared one only
 * where nothing else in it could name an owner. Pure.
 */
export function followAnswers(
  open: readonly HostTable[],
  answers: { shared: ReadonlySet<string>; excluded: ReadonlyMap<string, string> },
): Map<string, Followed> {
  const followed = new Map<string, Followed>()
  const isShared = (name: string) =>
    answers.shared.has(name) || followed.get(name)?.class === 'shared'
  const isExcluded = (name: string) =>
    answers.excluded.has(name) || followed.get(name)?.class === 'excluded'
  for (let isChanging = true; isChanging; ) {
    isChanging = false
    for (const table of open) {
      const name = tableName(table)
      if (followed.has(name)) continue
      const targets = targetsOf(table)
      const excluded = targets.find(
        ({ target, isNullable }) => !isNullable && isExcluded(target),
      )?.target
      if (excluded !== undefined) {
        followed.set(name, { class: 'excluded', reason: `hangs on ${excluded}, which is excluded` })
        isChanging = true
      } else if (
        targets.length > 0 &&
        targets.every(({ target }) => isShared(target)) &&
        !mayNameAnOwner(table)
      ) {
        followed.set(name, { class: 'shared' })
        isChanging = true
      }
    }
  }
  return followed
}

/** The open tables that hang on another open table by a key that is never null; they follow its answer. Pure. */
export function findFollowers(open: readonly HostTable[]): Map<string, string> {
  const names = new Set(open.map(tableName))
  const leaders = new Map<string, string>()
  for (const table of open) {
    const leader = targetsOf(table).find(
      ({ target, isNullable }) => !isNullable && names.has(target),
    )?.target
    if (leader === undefined) continue
    // Of a circle one table must be asked about.
    let next: string | undefined = leader
    for (
      let steps = 0;
      next !== undefined && next !== tableName(table) && steps < names.size;
      steps += 1
    ) {
      next = leaders.get(next)
    }
    if (next !== tableName(table)) leaders.set(tableName(table), leader)
  }
  return leaders
}

function targetsOf(table: HostTable): { target: string; isNullable: boolean }[] {
  const nullable = new Set(
    table.columns.filter((column) => column.isNullable).map((column) => column.name),
  )
  return table.foreignKeys
    .map((key) => ({
      target: `${key.targetSchema}.${key.targetTable}`,
      isNullable: key.columns.some((column) => nullable.has(column)),
    }))
    .filter(({ target }) => target !== tableName(table))
}

function mayNameAnOwner(table: HostTable): boolean {
  const keyed = new Set(table.foreignKeys.flatMap((key) => key.columns))
  return table.columns.some(
    (column) =>
      !keyed.has(column.name) &&
      !table.primaryKey.includes(column.name) &&
      (column.type === 'uuid' || /(_id|Id|_uuid)$/.test(column.name)),
  )
}

/** Whether rows of tenants refer to the table. */
export function isReferredTo(registry: Registry, table: HostTable): boolean {
  return inboundKeys(registry, table).length > 0
}
