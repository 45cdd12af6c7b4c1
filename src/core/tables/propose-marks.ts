/**
 * Proposes marks from the names of tables and columns. Names are taken apart into words, so that `blog`
 * is no log, and a type that can't hold what the name suggests (`tokens_used integer`) is passed over.
 */
import type { HostColumn, HostTable } from './host-table.ts'

export interface TableMarks {
  /** A restore keeps rows that are newer than the backup: the trail of what happened. */
  isHistory: boolean
  /** Part of what a new tenant starts with. */
  isSeeded: boolean
  /** Columns that keep their live value in a restore, so that nobody's rights rise by it. */
  keepLive: string[]
  /** Columns that comparing and exporting don't show. */
  masked: string[]
  /** Columns that people know a row by. */
  label: string[]
}

const HISTORY =
  /^(audits?|ledgers?|logs?|history|histories|usage|usages|metering|activity|activities)$/
const RIGHTS = /^(roles?|permissions?|privileges?|scopes?|grants?)$/
const RIGHTS_FLAG = /^is_?(admin|owner|superuser|super_admin|staff)$/
const SECRET = /^(passwords?|passwd|pwd|tokens?|secrets?|otp|totp)$/
const SECRET_PAIR =
  /(api|private|signing|access|secret|encryption|recovery|backup)_(keys?|codes?)|(join|invite|invitation|access|referral)_codes?$|password_hash|hashed_password/
const PERSONAL =
  /(^|_)(ssn|iban|cvv|cvc|passport|birth_?date|date_of_birth|dob|tax_id|national_id|social_security)(_|$)|(card|account|passport)_(number|no)$/
const LABELS = [
  'name',
  'title',
  'full_name',
  'display_name',
  'label',
  'number',
  'code',
  'subject',
  'reference',
  'slug',
  'email',
  'username',
  'key',
]

/** The marks that names suggest; a person confirms or overrides them. Pure. */
export function proposeMarks(table: HostTable): TableMarks {
  const free = table.columns.filter((column) => !table.primaryKey.includes(column.name))
  const secrets = free.filter(isSecret)
  return {
    isHistory: wordsOf(table.name).some((word) => HISTORY.test(word)),
    isSeeded: false,
    keepLive: free
      .filter((column) => isRight(column) || secrets.includes(column))
      .map((column) => column.name),
    masked: free
      .filter((column) => secrets.includes(column) || PERSONAL.test(snakeOf(column.name)))
      .map((column) => column.name),
    label: proposeLabel(table),
  }
}

function isRight(column: HostColumn): boolean {
  const name = snakeOf(column.name)
  if (RIGHTS_FLAG.test(name)) return true
  if (isMoment(column) || isCount(column, name)) return false
  return wordsOf(column.name).some((word) => RIGHTS.test(word))
}

function isSecret(column: HostColumn): boolean {
  const name = snakeOf(column.name)
  if (isMoment(column) || isNumber(column) || column.type === 'boolean') return false
  if (/_(hint|type|name|url|prefix|count|policy)$/.test(name)) return false
  return wordsOf(column.name).some((word) => SECRET.test(word)) || SECRET_PAIR.test(name)
}

function proposeLabel(table: HostTable): string[] {
  const texts = table.columns.filter((column) => isText(column))
  const named = LABELS.map((label) => texts.find((column) => snakeOf(column.name) === label)).find(
    (column) => column !== undefined,
  )
  if (named !== undefined) return [named.name]
  const parts = ['first_name', 'last_name'].flatMap((part) =>
    texts.filter((column) => snakeOf(column.name) === part).map((column) => column.name),
  )
  if (parts.length > 0) return parts
  const ending = table.columns.find(
    (column) =>
      /_(number|no|name|title|code)$/.test(snakeOf(column.name)) &&
      (isText(column) || isNumber(column)),
  )
  return ending === undefined ? [] : [ending.name]
}

function isText({ type }: HostColumn): boolean {
  return (
    /^(text|character varying|varchar|character|bpchar|name)$/.test(type) || /citext/.test(type)
  )
}

function isNumber({ type }: HostColumn): boolean {
  return /^(smallint|integer|bigint|numeric|real|double precision|int[248]|float[48])$/.test(type)
}

function isMoment({ type }: HostColumn): boolean {
  return /^(date|time|timestamp|interval)/.test(type)
}

/** A number that is no key of another table: `roles_count`. */
function isCount(column: HostColumn, name: string): boolean {
  return isNumber(column) && !name.endsWith('_id')
}

/** `orgId` and `org_id` alike: `org_id`. */
export function snakeOf(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/[^\p{L}\p{N}]+/gu, '_')
    .toLowerCase()
}

/** The words of a name, in lower case. */
export function wordsOf(name: string): string[] {
  return snakeOf(name)
    .split('_')
    .filter((word) => word !== '')
}
