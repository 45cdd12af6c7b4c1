import { basename } from 'node:path'
import { BackupError } from '../errors.ts'
import { partPath } from '../store/object-path.ts'
import type { SummaryContent, SummaryPart } from './summary.ts'

/**
 * What an archive is: one zip with the summary as it was signed, every part as it is uncompressed, and a
 * page for people. Names follow from the summary alone, so that who reads one never asks the zip for them.
 */

export const SUMMARY_ENTRY = 'summary.json'
export const README_ENTRY = 'README.txt'

/** A zip is read into memory as a whole, and beyond 4 GB it would be another format. */
export const MAX_ARCHIVE_BYTES = 1_000_000_000

export interface ArchiveEntry {
  /** `tables/customers.json`, `tables/customers.part-0002.json` */
  name: string
  part: SummaryPart
}

/** The entries of all parts, in the order of the summary. */
export function listEntries({ tables }: Pick<SummaryContent, 'tables'>): ArchiveEntry[] {
  return tables.flatMap(({ schema, table, parts }) =>
    parts.map((part, at) => {
      // The name of the object without its time: a part that was not stored again has another one's.
      const object = partPath('any', ANY_STAMP, { schema, name: table }, at + 1)
      const name = basename(object).replace(`-${ANY_STAMP}`, '').replace(/\.gz$/, '')
      return { name: `tables/${name}`, part }
    }),
  )
}

const ANY_STAMP = '20000101T000000000Z-00000000'

/** Throws `invalid_request` where a backup is too large for one archive. */
export function requireArchiveSize(bytes: number, maxBytes: number, instead: string): void {
  if (bytes <= maxBytes) return
  const megabytes = (size: number) => `${Math.ceil(size / 1_000_000)} MB`
  throw new BackupError(
    'invalid_request',
    `This backup has ${megabytes(bytes)}, more than the ${megabytes(maxBytes)} that fit here. ${instead}`,
    { details: { bytes, max_bytes: maxBytes } },
  )
}

/** A file name for a person's folder of downloads: `prairie-welding-gas-2026-11-21-020304.zip`. */
export function nameArchive(summary: SummaryContent): string {
  const name = (summary.organization_name ?? summary.organization_id)
    .normalize('NFKD')
    .toLowerCase()
    .replace(/\p{M}/gu, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, 60)
  const time = summary.taken_at.slice(0, 19).replace('T', '-').replaceAll(':', '')
  return `${name === '' ? 'backup' : name}-${time}.zip`
}

/** What the archive says to whoever opens it, in plain words. */
export function describeArchive(summary: SummaryContent): string {
  const tenant = oneLine(summary.organization_name ?? summary.organization_id)
  const { tables, rows } = summary.totals
  const masked =
    'It holds personal data, and everything else that was in those tables, also what the page and the\nlists of changes hide. Keep it where only those may read it who may read all of that, and delete it\nwhen you need it no longer.'
  return `A backup of ${tenant}
${'='.repeat(Math.min(78, 12 + [...tenant].length))}

What this is    all rows of ${tenant}, as they were at one moment
Organization    ${oneLine(summary.organization_id)}
Moment          ${summary.taken_at} (UTC)
Holds           ${rows} rows in ${tables} tables
Backup          ${summary.backup_id} (${summary.backup_type})

${masked}

Files stored elsewhere, such as uploaded pictures, and logins are not in it.


What is inside
--------------

tables/         the rows, a file a table: JSON, one row on a line. A large table has several files,
                each of them a whole JSON array (customers.json, customers.part-0002.json, …).
                Characters in a table's name that a file's name should not have are written as = and
                two hex digits.
summary.json    what belongs to it: tables, columns, numbers of rows, and a SHA-256 of every file.
                It is signed: change one character anywhere, and the archive is refused.

Numbers can have more digits than a spreadsheet or a JavaScript program keeps. Reading is fine;
writing the files again with such a program would change them.


How to bring it back
--------------------

With Tenantkeep, on the machine of whoever runs it. First see what would change; nothing is written:

    tenantkeep restore --tenant ${oneLine(summary.organization_id)} --from FILE.zip --dry-run

Without --dry-run it is done, and can be undone. Without Tenantkeep: docs/format.md of the project
says how every value is written, and how to load it with psql.
`
}

/** A name with line breaks would write lines of its own. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
}
