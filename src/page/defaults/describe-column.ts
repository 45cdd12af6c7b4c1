import { nameTable } from '../frame/name-table.ts'
import type { DefaultColumn, DefaultRow, Values } from './read-defaults.ts'

/** In which field a value is edited. */
export type FieldKind =
  | 'text'
  | 'choice'
  | 'number'
  | 'date'
  | 'time'
  | 'instant'
  | 'json'
  | 'row'
  | 'other'

const INSTANT = /^\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?$/
const ZONE = '+00'

/** What is chosen is written like this; each text for people beside what Postgres writes. */
const BOOLEANS = [
  { value: 'true', label: 'Yes' },
  { value: 'false', label: 'No' },
]

/**
 * The field for a column. A value that a browser's own field would cut, such as microseconds, years before
 * Christ, or `infinity`, is edited as text.
 */
export function kindOf(column: DefaultColumn, value: string | null | undefined): FieldKind {
  const { type } = column
  if (column.allowed !== null || type === 'boolean') return 'choice'
  if (column.refersTo !== null) return 'row'
  if (/^(text|citext|character|name$)/.test(type) && !type.endsWith('[]')) return 'text'
  if (/^(smallint|integer|bigint|numeric|real|double precision)/.test(type)) {
    return type.endsWith('[]') ? 'other' : 'number'
  }
  if (type === 'json' || type === 'jsonb') return 'json'
  const given = value ?? ''
  const isPlain = (pattern: RegExp) => given === '' || pattern.test(given)
  if (type === 'date' && isPlain(/^\d{4}-\d\d-\d\d$/)) return 'date'
  if (/^time(\(\d\))? without/.test(type) && isPlain(/^\d\d:\d\d(:\d\d)?$/)) return 'time'
  if (/^timestamp/.test(type) && !type.endsWith('[]') && isInstant(type, given)) return 'instant'
  return 'other'
}

function isInstant(type: string, value: string): boolean {
  if (value === '') return true
  if (!hasZone(type)) return INSTANT.test(value)
  return value.endsWith(ZONE) && INSTANT.test(value.slice(0, -ZONE.length))
}

/** Whether the times of a type are instants, which are edited in UTC. */
function hasZone(type: string): boolean {
  return type.endsWith('with time zone')
}

/** `2026-11-20 08:00:00+00` as a field of the browser has it: `2026-11-20T08:00:00`. */
export function toInstantField(type: string, value: string): string {
  const plain = hasZone(type) ? value.replace(/\+00$/, '') : value
  return plain.replace(' ', 'T')
}

/** And back. */
export function fromInstantField(type: string, text: string): string {
  if (text === '') return ''
  return `${text.replace('T', ' ')}${hasZone(type) ? ZONE : ''}`
}

/** What can be chosen, for people and as Postgres writes it. */
export function choicesOf({ allowed }: DefaultColumn): { value: string; label: string }[] {
  return allowed === null ? BOOLEANS : allowed.map((value) => ({ value, label: value }))
}

/** Whether a field left empty means no value; of texts the empty one is a value of its own. */
function isEmptyNull(kind: FieldKind): boolean {
  return kind !== 'text'
}

/**
 * What somebody typed, as a value. Undefined: the database fills it in, which only a new row asks for.
 */
export function readTyped(
  column: DefaultColumn,
  typed: string,
  { isNew }: { isNew: boolean },
): string | null | undefined {
  if (typed !== '' || !isEmptyNull(kindOf(column, typed))) return typed
  if (isNew && column.hasDefault) return undefined
  return column.isNullable ? null : ''
}

/** What a column is, beside its field. */
export function describeColumn(column: DefaultColumn, kind: FieldKind): string {
  const { type, allowed, isNullable, refersTo } = column
  const parts = [
    refersTo !== null ? `names a row of ${nameTable(refersTo.table)}` : '',
    kind === 'instant' && hasZone(type) ? 'in UTC' : '',
    allowed === null && kind !== 'choice' ? type : '',
    isNullable && kind !== 'text' && kind !== 'choice' && kind !== 'row' ? 'may be empty' : '',
    type.endsWith('[]') ? 'as Postgres writes it: {one,two}' : '',
  ]
  return parts.filter((part) => part !== '').join(' · ')
}

/** Why a column is only shown; null where it can be edited. */
export function describeReadOnly(column: DefaultColumn, { isNew }: { isNew: boolean }) {
  if (column.isMasked) return 'Never shown, never edited'
  if (column.isReadOnly) return 'Set by the database'
  if (!isNew && column.isKey) return 'Part of the key: copies are known by it'
  return null
}

/** What is missing or can't be a value, by column, before anything is sent. */
export function findFaults(
  columns: readonly DefaultColumn[],
  values: Values,
  { isNew }: { isNew: boolean },
): Record<string, string> {
  const faults: Record<string, string> = {}
  for (const column of columns) {
    if (describeReadOnly(column, { isNew }) !== null || column.isNullable) continue
    const value = values[column.name]
    const isLeft = value === undefined && (!isNew || column.hasDefault)
    const isEmpty = value === '' && isEmptyNull(kindOf(column, value))
    if (!isLeft && (value === undefined || value === null || isEmpty)) {
      faults[column.name] = 'This needs a value'
    }
  }
  return faults
}

/** The reason of the service, as a sentence beside the field. */
export function describeReason(reason: string): string {
  const words: Record<string, string> = {
    'may not be null': 'This needs a value',
    'can’t be edited': 'This can’t be edited',
    'there is no such column': 'There is no such column any more',
  }
  const type = /^no value of the type (.+)$/.exec(reason)?.[1]
  if (type !== undefined) return `This is not a value of the type ${type}`
  return words[reason] ?? reason
}

/** The columns that were changed, with their values. */
export function findChanges(values: Values, before: Values): Values {
  return Object.fromEntries(
    Object.entries(values).filter(([name, value]) => value !== before[name]),
  )
}

/** One column that two people have left differently. */
export interface Difference {
  column: string
  before: string | null
  theirs: string | null
  mine: string | null
  /** Both changed it, so somebody has to say which counts. */
  isContested: boolean
}

export type Side = 'theirs' | 'mine'

/** What somebody else saved beside what was typed here, column by column, where the two differ. */
export function findDifferences(before: Values, theirs: Values, mine: Values): Difference[] {
  const names = new Set([...Object.keys(theirs), ...Object.keys(mine)])
  return [...names].flatMap((column) => {
    const was = before[column] ?? null
    const their = theirs[column] ?? null
    const my = Object.hasOwn(mine, column) ? (mine[column] ?? null) : was
    if (their === my) return []
    const isContested = their !== was && my !== was
    return [{ column, before: was, theirs: their, mine: my, isContested }]
  })
}

/** Which side counts until somebody says otherwise: whoever alone changed it. */
export function firstSide({ isContested, before, mine }: Difference): Side | null {
  if (isContested) return null
  return mine === before ? 'theirs' : 'mine'
}

/** The typed values once it is decided, column by column, whose count: beside the row as it is now. */
export function settle(
  mine: Values,
  differences: readonly Difference[],
  sides: Readonly<Record<string, Side>>,
): Values {
  const theirs = new Set(
    differences
      .filter((difference) => (sides[difference.column] ?? firstSide(difference)) === 'theirs')
      .map(({ column }) => column),
  )
  return Object.fromEntries(Object.entries(mine).filter(([name]) => !theirs.has(name)))
}

/** What people know a row by: its label, else its key without the template's own id. */
export function nameRow(
  { label, key }: Pick<DefaultRow, 'label' | 'key'>,
  templateId: string,
): string {
  if (label !== null && label.trim() !== '') return label
  return nameKey(key, templateId)
}

/** A key for people, without the template's own id where there is more in it. */
export function nameKey(key: Record<string, string>, templateId: string): string {
  const own = Object.values(key).filter((value) => value !== templateId)
  return (own.length === 0 ? Object.values(key) : own).join(', ')
}

/** So many columns fit beside each other. */
const MOST_COLUMNS = 4

/** The columns that a list shows: what people wrote, in the order of the table, no ids and no documents. */
export function listedColumns(columns: readonly DefaultColumn[]): DefaultColumn[] {
  const telling = columns.filter(
    ({ isReadOnly, isMasked, type, refersTo }) =>
      !isReadOnly && !isMasked && type !== 'uuid' && refersTo === null && !/^jsonb?$/.test(type),
  )
  return (telling.length === 0 ? columns.filter(({ isMasked }) => !isMasked) : telling).slice(
    0,
    MOST_COLUMNS,
  )
}
