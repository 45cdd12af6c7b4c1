import { createHash } from 'node:crypto'
import * as z from 'zod'
import { BackupError } from '../errors.ts'
import { checkPath } from '../store/object-path.ts'
import { checkSignature, isOurs, Signature, type SigningKeys, sign } from './signature.ts'

/**
 * The summary is what makes objects a backup: it names every one of them with sizes and digests, and
 * is signed, because a digest that lies beside the data proves nothing against whoever can write
 * there. Later versions of this program read every earlier `format_version`.
 */
export const FORMAT_VERSION = 1

const count = z.int().nonnegative()
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)

export const SummaryPart = z.strictObject({
  path: z.string().refine(isObjectPath, 'is not the path of a backup object'),
  rows: count,
  raw_bytes: count,
  stored_bytes: count,
  raw_sha256: sha256,
  stored_sha256: sha256,
})
export type SummaryPart = z.infer<typeof SummaryPart>

export const SummaryTable = z.strictObject({
  /** `table` in public, `schema.table` elsewhere. */
  name: z.string().min(1),
  schema: z.string().min(1),
  table: z.string().min(1),
  columns: z.array(
    z.strictObject({
      name: z.string().min(1),
      type: z.string().min(1),
      encoding: z.enum(['scalar', 'jsonb', 'json', 'text', 'output']),
    }),
  ),
  /** Digest of the columns with their types, domains, enums and composites, as they were. */
  fingerprint: z.string().min(1),
  /** Empty for a table without one: its rows are a multiset. */
  primary_key: z.array(z.string().min(1)),
  rows: count,
  raw_bytes: count,
  stored_bytes: count,
  parts: z.array(SummaryPart).min(1),
})
export type SummaryTable = z.infer<typeof SummaryTable>

const content = {
  format_version: z.literal(FORMAT_VERSION),
  backup_id: z.uuid(),
  organization_id: z.string().min(1),
  organization_name: z.string().nullable(),
  backup_type: z.enum(['daily_tenant', 'manual', 'pre_restore']),
  /** The instant that every row of the backup was read at; UTC, microseconds, the database's clock. */
  taken_at: z.iso.datetime({ precision: 6 }),
  postgres_version: z.string().min(1),
  schema_fingerprint: z.string().min(1),
  /** In the order of ownership: a row's owner stands before the row. */
  tables: z.array(SummaryTable),
  totals: z.strictObject({
    tables: count,
    rows: count,
    raw_bytes: count,
    stored_bytes: count,
  }),
  /**
   * Rows of the host's tables that are in no tenant's backup because they lead to none, or that two tenants
   * could claim: counts over all tenants, as `init` or `doctor` last measured them. Tables with such rows
   * only; `not_measured` names those that were never counted. Absent in backups of earlier versions.
   */
  rows_of_no_tenant: z
    .strictObject({
      tables: z.array(
        z.strictObject({
          name: z.string().min(1),
          measured_at: z.string().min(1),
          without_tenant: count,
          null_tenant: count.nullable(),
          two_tenants: count.nullable(),
        }),
      ),
      not_measured: z.array(z.string()),
    })
    .optional(),
  /** Digests of every host table's shape, so that the next backup can name what changed. */
  host_tables: z
    .array(
      z.strictObject({
        schema: z.string().min(1),
        name: z.string().min(1),
        columns: z.string(),
        keys: z.string(),
        access: z.string(),
      }),
    )
    .optional(),
  /** Tables that nobody has classified, hence not in the backup. */
  gaps: z.array(z.string()),
  warnings: z.array(z.strictObject({ code: z.string(), message: z.string() })),
  name: z.string().nullable(),
  note: z.string().nullable(),
  tags: z.array(z.string()),
}

export const SummaryContent = z.strictObject(content)
export type SummaryContent = z.infer<typeof SummaryContent>

export const Summary = z.strictObject({ ...content, signature: Signature })
export type Summary = z.infer<typeof Summary>

/** Signs a summary and gives the bytes of its object: JSON that a person can read, in UTF-8. */
export function writeSummary(
  given: SummaryContent,
  keys: SigningKeys,
): { summary: Summary; body: Buffer; sha256: string } {
  const checked = SummaryContent.parse(given)
  requireSums(checked)
  const summary = { ...checked, signature: sign(checked, keys) }
  const body = Buffer.from(`${JSON.stringify(summary, null, 2)}\n`, 'utf8')
  return { summary, body, sha256: createHash('sha256').update(body).digest('hex') }
}

/**
 * Reads a summary and proves that it is ours: shape, format version, signature, sums. Throws
 * `backup_damaged` with the first thing that is wrong, by its path in the document.
 */
export function parseSummary(body: Buffer, keys: SigningKeys): Summary {
  const { signature, ...unsigned } = readDocument(Summary, body)
  checkSignature(unsigned, signature, keys)
  requireSums(unsigned)
  return { ...unsigned, signature }
}

/**
 * The same for a summary that may be signed with a key that is not ours, or not at all: then nothing
 * proves it but its sums. A signature of ours that does not fit is refused all the same.
 */
export function parseForeignSummary(
  body: Buffer,
  keys: SigningKeys,
): { summary: SummaryContent; isProven: boolean } {
  const { signature, ...summary } = readDocument(
    z.strictObject({ ...content, signature: Signature.optional() }),
    body,
  )
  const isProven = signature !== undefined && isOurs(signature, keys)
  if (isProven) checkSignature(summary, signature, keys)
  requireSums(summary)
  return { summary, isProven }
}

function readDocument<T>(schema: z.ZodType<T>, body: Buffer): T {
  const document = parseJson(body)
  const version = z.looseObject({ format_version: z.int() }).safeParse(document)
  if (!version.success) damaged('The summary has no format version.')
  if (version.data.format_version > FORMAT_VERSION) {
    throw new BackupError(
      'backup_damaged',
      `The summary has format version ${version.data.format_version}; this program reads up to ${FORMAT_VERSION}. Use a newer one.`,
      { details: { lacking: 'newer_version' } },
    )
  }
  const parsed = schema.safeParse(document)
  if (!parsed.success) damaged(`The summary is not readable: ${z.prettifyError(parsed.error)}`)
  return parsed.data
}

/** Sums that don't add up mean a faulty writer, and the catalog would be wrong. */
function requireSums(summary: SummaryContent): void {
  for (const table of summary.tables) {
    for (const field of ['rows', 'raw_bytes', 'stored_bytes'] as const) {
      if (table[field] !== sum(table.parts, field)) {
        damaged(
          `The summary contradicts itself: ${field} of ${table.name} is not that of its parts.`,
        )
      }
    }
  }
  const { totals, tables } = summary
  const added = totalsOf(tables)
  const isRight =
    totals.tables === added.tables &&
    totals.rows === added.rows &&
    totals.raw_bytes === added.raw_bytes &&
    totals.stored_bytes === added.stored_bytes
  if (!isRight) damaged('The summary contradicts itself: its totals are not those of its tables.')
  if (new Set(tables.map((table) => table.name)).size !== tables.length) {
    damaged('The summary names a table twice.')
  }
}

/** What a summary says of all its tables together. */
export function totalsOf(tables: readonly SummaryTable[]): SummaryContent['totals'] {
  return {
    tables: tables.length,
    rows: sum(tables, 'rows'),
    raw_bytes: sum(tables, 'raw_bytes'),
    stored_bytes: sum(tables, 'stored_bytes'),
  }
}

/** Adds up one field of parts or tables. */
export function sum<Field extends 'rows' | 'raw_bytes' | 'stored_bytes'>(
  items: readonly Record<Field, number>[],
  field: Field,
): number {
  return items.reduce((total, item) => total + item[field], 0)
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch {
    // The parser's message quotes the text, which holds names and notes.
    return damaged('The summary is not JSON.')
  }
}

function isObjectPath(path: string): boolean {
  try {
    return checkPath(path) === path
  } catch {
    return false
  }
}

function damaged(message: string): never {
  throw new BackupError('backup_damaged', message)
}
