import { createHash } from 'node:crypto'
import { BackupError } from '../errors.ts'

/**
 * The paths of all objects, built here and nowhere else:
 *
 *     tenant-backups/{tenant id}/{YYYY-MM-DD}/{table}-{stamp}.json.gz
 *     tenant-backups/{tenant id}/{YYYY-MM-DD}/{table}-{stamp}.part-0002.json.gz
 *     tenant-backups/{tenant id}/{YYYY-MM-DD}/summary-{stamp}.json
 *     tenant-backups/{tenant id}/{YYYY-MM-DD}/{stamp}.restore-plan.json.gz
 *     tenant-erasures/{tenant id}/{stamp}.json
 *
 * A name keeps `[a-z0-9_]` (a tenant id also `-`); everything else becomes `=` and two hex digits
 * per UTF-8 byte. So names can't collide on disks that ignore case, a dot only ever separates schema
 * from table, and a dash only ever precedes the stamp; the plan of a restore, which has the stamp of its
 * safety backup, begins with the stamp. Supabase Storage takes `=` in a key: its list
 * of allowed characters is that of S3, `\w / ! - . * ' ( ) & $ @ = ; : + , ?` and the blank
 * (`isValidKey` in src/storage/limits.ts of supabase/storage).
 */

const ROOT = 'tenant-backups'
/** Outside of the folders of tenants, so that erasing one leaves what says that it was erased. */
const ERASURES = 'tenant-erasures'
const STAMP = '\\d{8}T\\d{9}Z-[0-9a-f]{8}'
const NAME = '(?:[a-z0-9_]|=[0-9a-f]{2})+(?:=x[0-9a-f]{32})?'
const TENANT = '(?:[a-z0-9_-]|=[0-9a-f]{2})+(?:=x[0-9a-f]{32})?'
const PART = '\\.part-(?!000[01])(?:\\d{4}|[1-9]\\d{4,5})'

const STAMP_SHAPE = new RegExp(`^${STAMP}$`)
const PATH_SHAPE = new RegExp(
  `^${ROOT}/(?<tenant>${TENANT})/(?<day>\\d{4}-\\d{2}-\\d{2})/` +
    `(?:summary-(?<stamp>${STAMP})\\.json|` +
    `(?<planStamp>${STAMP})\\.restore-plan\\.json\\.gz|` +
    `(?:(?<schema>${NAME})\\.)?(?<table>${NAME})-(?<tableStamp>${STAMP})(?:${PART})?\\.json\\.gz)$`,
)
const ERASURE_SHAPE = new RegExp(`^${ERASURES}/(?<tenant>${TENANT})/${STAMP}\\.json$`)
const PREFIX_SHAPE = new RegExp(
  `^(?:${ROOT}/(?:(?<tenant>${TENANT})/(?:\\d{4}-\\d{2}-\\d{2}/)?)?|${ERASURES}/(?:(?<erased>${TENANT})/)?)$`,
)

/** Longest encoded name. File systems end at 255 bytes a name, which holds two of these and the rest. */
const MAX_NAME = 96

/** A table as Postgres knows it, unquoted. */
export interface TableName {
  schema: string
  name: string
}

/**
 * The stamp that all objects of one backup carry: `20261121T020304567Z-1a2b3c4d`, UTC. `takenAt` is
 * the database clock; the first 8 hex digits of the backup's id keep two attempts of one millisecond
 * apart.
 */
export function backupStamp(takenAt: Date, backupId: string): string {
  const time = Number.isNaN(takenAt.getTime()) ? '' : takenAt.toISOString().replace(/[-:.]/g, '')
  const stamp = `${time}-${backupId.toLowerCase().slice(0, 8)}`
  if (!STAMP_SHAPE.test(stamp)) {
    refuse('A backup needs a time between the years 0 and 9999 and a uuid to be stored under.')
  }
  return stamp
}

/** Where the summary of a backup lies. */
export function summaryPath(tenantId: string, stamp: string): string {
  return checkPath(`${dayPrefix(tenantId, stamp)}summary-${stamp}.json`)
}

/** Where the plan of a restore lies, beside the safety backup with this stamp. */
export function restorePlanPath(tenantId: string, stamp: string): string {
  return checkPath(`${dayPrefix(tenantId, stamp)}${stamp}.restore-plan.json.gz`)
}

/** Where it says that a tenant was forgotten; the stamp is of the moment and the erasure's id. */
export function erasurePath(tenantId: string, stamp: string): string {
  return checkPath(`${erasurePrefix(tenantId)}${stamp}.json`)
}

/** The folder of a tenant's erasures, or of all, with a slash at its end. */
export function erasurePrefix(tenantId?: string): string {
  return tenantId === undefined ? `${ERASURES}/` : `${ERASURES}/${encodeName(tenantId, '-')}/`
}

/** The folder of all tenants' backups. */
export const BACKUPS_PREFIX = `${ROOT}/`

/** Where a part of a table lies; parts count from 1, and the first has no number in its name. */
export function partPath(tenantId: string, stamp: string, table: TableName, part: number): string {
  const schema = table.schema === 'public' ? '' : `${encodeName(table.schema)}.`
  const number = part === 1 ? '' : `.part-${String(part).padStart(4, '0')}`
  const file = `${schema}${encodeName(table.name)}-${stamp}${number}.json.gz`
  return checkPath(`${dayPrefix(tenantId, stamp)}${file}`)
}

/** The folder of all backups of a tenant, with a slash at its end. */
export function tenantPrefix(tenantId: string): string {
  return `${ROOT}/${encodeName(tenantId, '-')}/`
}

/** The folder of a tenant's backups of the stamp's day (UTC), with a slash at its end. */
export function dayPrefix(tenantId: string, stamp: string): string {
  if (!STAMP_SHAPE.test(stamp)) refuse('The stamp of a backup is not one that Tenantkeep made.')
  return `${tenantPrefix(tenantId)}${dayOf(stamp)}/`
}

/** The stamp in the path of an object; undefined for what is not a path of ours. */
export function stampOf(path: string): string | undefined {
  const parts = PATH_SHAPE.exec(path)?.groups
  return parts?.stamp ?? parts?.planStamp ?? parts?.tableStamp
}

/**
 * Returns the path if it is one that the functions above can have built, else throws `path_refused`:
 * `..`, `%2e`, empty segments, a leading slash, backslashes, control characters, `?`, `#`, and
 * whatever else is not ours. The message does not repeat the path, which may hold anything.
 */
export function checkPath(path: string): string {
  const erased = ERASURE_SHAPE.exec(path)?.groups?.tenant
  if (erased !== undefined && isEncoded(erased, '-')) return path
  const parts = PATH_SHAPE.exec(path)?.groups
  if (parts === undefined) refuse('This is not the path of a backup object.')
  const { tenant, day, schema, table } = parts
  const stamp = stampOf(path)
  const isOurs =
    stamp !== undefined &&
    day === dayOf(stamp) &&
    isEncoded(tenant, '-') &&
    isEncoded(schema) &&
    isEncoded(table) &&
    schema !== 'public'
  if (!isOurs) refuse('This is not the path of a backup object.')
  return path
}

/** Like `checkPath`, for a folder: all backups, a tenant's, those of a tenant's day; all erasures, a tenant's. */
export function checkPrefix(prefix: string): string {
  const parts = PREFIX_SHAPE.exec(prefix)?.groups
  if (parts === undefined || !isEncoded(parts.tenant ?? parts.erased, '-')) {
    refuse('This is not the folder of backups; it ends in a slash and is built by Tenantkeep.')
  }
  return prefix
}

function encodeName(name: string, alsoKept = ''): string {
  if (name === '') refuse('A tenant or a table without a name cannot be stored.')
  if (!name.isWellFormed()) refuse('A name that is not valid Unicode cannot be stored.')
  let encoded = ''
  for (const byte of Buffer.from(name, 'utf8')) {
    const char = String.fromCharCode(byte)
    const isKept = /[a-z0-9_]/.test(char) || (char !== '' && alsoKept.includes(char))
    encoded += isKept ? char : `=${byte.toString(16).padStart(2, '0')}`
  }
  return encoded.length <= MAX_NAME ? encoded : shorten(encoded)
}

/** `=x` is no escape, so a shortened name never equals a whole one. */
function shorten(encoded: string): string {
  const digest = createHash('sha256').update(encoded).digest('hex').slice(0, 32)
  const start = encoded.slice(0, MAX_NAME - 34).replace(/=[0-9a-f]?$/, '')
  return `${start}=x${digest}`
}

/** Whether a part of a path is exactly what `encodeName` makes; a missing part is fine. */
function isEncoded(encoded: string | undefined, alsoKept = ''): boolean {
  if (encoded === undefined) return true
  if (encoded.length > MAX_NAME) return false
  if (encoded.includes('=x')) return true
  const bytes = encoded.replace(/=([0-9a-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  const name = Buffer.from(bytes, 'latin1').toString('utf8')
  return name !== '' && encodeName(name, alsoKept) === encoded
}

function dayOf(stamp: string): string {
  return `${stamp.slice(0, 4)}-${stamp.slice(4, 6)}-${stamp.slice(6, 8)}`
}

function refuse(message: string): never {
  throw new BackupError('path_refused', message)
}
