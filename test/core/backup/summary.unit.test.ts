import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { parseSigningKeys } from '../../../src/core/backup/signature.ts'
import {
  parseSummary,
  type SummaryContent,
  writeSummary,
} from '../../../src/core/backup/summary.ts'
import { TEST_KEYS } from '../../support/backup-services.ts'

const GOLDEN = new URL('./golden/summary-format-1.json.golden', import.meta.url)
const STAMP = '20261121T020304567Z-1a2b3c4d'
const FOLDER = 'tenant-backups/alpha/2026-11-21'

const CONTENT: SummaryContent = {
  format_version: 1,
  backup_id: '1a2b3c4d-0000-4000-8000-000000000000',
  organization_id: 'alpha',
  organization_name: 'Alpha «Gases» \u{1f9ea}',
  backup_type: 'daily_tenant',
  taken_at: '2026-11-21T02:03:04.567891Z',
  postgres_version: '17.10',
  schema_fingerprint: 'f0'.repeat(32),
  tables: [
    {
      name: 'customers',
      schema: 'public',
      table: 'customers',
      columns: [
        { name: 'id', type: 'uuid', encoding: 'scalar' },
        { name: 'settings', type: 'jsonb', encoding: 'jsonb' },
        { name: 'grade', type: 'public.grade', encoding: 'text' },
      ],
      fingerprint: 'a1'.repeat(16),
      primary_key: ['id'],
      rows: 3,
      raw_bytes: 300,
      stored_bytes: 130,
      parts: [
        {
          path: `${FOLDER}/customers-${STAMP}.json.gz`,
          rows: 2,
          raw_bytes: 200,
          stored_bytes: 80,
          raw_sha256: '0a'.repeat(32),
          stored_sha256: '0b'.repeat(32),
        },
        {
          path: `${FOLDER}/customers-${STAMP}.part-0002.json.gz`,
          rows: 1,
          raw_bytes: 100,
          stored_bytes: 50,
          raw_sha256: '0c'.repeat(32),
          stored_sha256: '0d'.repeat(32),
        },
      ],
    },
  ],
  totals: { tables: 1, rows: 3, raw_bytes: 300, stored_bytes: 130 },
  gaps: ['public.brand_new'],
  warnings: [{ code: 'encoding_unproven', message: 'Not tried.' }],
  name: null,
  note: 'before the move',
  tags: ['move'],
}

function change(edit: (summary: Record<string, unknown>) => void): Buffer {
  const { body } = writeSummary(CONTENT, TEST_KEYS)
  const document: Record<string, unknown> = JSON.parse(body.toString())
  edit(document)
  return Buffer.from(JSON.stringify(document))
}

test('format 1 is written exactly as the golden file has it', async () => {
  const { body } = writeSummary(CONTENT, TEST_KEYS)
  expect(body.toString()).toBe(await readFile(GOLDEN, 'utf8'))
})

test('reads the golden file of format 1', async () => {
  const summary = parseSummary(await readFile(GOLDEN), TEST_KEYS)
  const { signature, ...content } = summary
  expect(content).toEqual(CONTENT)
  expect(signature.key_id).toBe('test')
})

test('the signature does not depend on order or white space', () => {
  const { body } = writeSummary(CONTENT, TEST_KEYS)
  const entries = Object.entries(JSON.parse(body.toString())).reverse()
  const shuffled = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  expect(parseSummary(shuffled, TEST_KEYS).note).toBe('before the move')
})

test('a change anywhere in it is found', () => {
  const refused = (body: Buffer) => expect(() => parseSummary(body, TEST_KEYS))
  refused(change((s) => Object.assign(s, { note: 'after the move' }))).toThrow(/does not match/)
  refused(change((s) => Object.assign(s, { organization_id: 'beta' }))).toThrow(/does not match/)
  refused(change((s) => Object.assign(s, { extra: 1 }))).toThrow(/not readable/)
  refused(change((s) => delete s.signature)).toThrow(/not readable/)
  refused(change((s) => Object.assign(s, { format_version: 2 }))).toThrow(/format version 2/)
  refused(Buffer.from('{"format_version":')).toThrow(/not JSON/)
})

test('a part outside of the folder of backups is refused', () => {
  const path = `tenant-backups/alpha/../beta/2026-11-21/customers-${STAMP}.json.gz`
  const body = Buffer.from(
    change(() => {})
      .toString()
      .replace(`${FOLDER}/customers-${STAMP}.json.gz`, path),
  )
  expect(() => parseSummary(body, TEST_KEYS)).toThrow(/not the path of a backup object/)
})

test('sums that do not add up are not written', () => {
  const wrong = { ...CONTENT, totals: { ...CONTENT.totals, rows: 4 } }
  expect(() => writeSummary(wrong, TEST_KEYS)).toThrow(/contradicts itself/)
})

test('a summary signed with the previous key is still read, one of an unknown key is not', () => {
  const { body } = writeSummary(CONTENT, TEST_KEYS)
  const secret = (byte: number) => Buffer.alloc(32, byte).toString('base64')
  const rotated = parseSigningKeys({ current: `new:${secret(9)}`, previous: `test:${secret(7)}` })
  const foreign = parseSigningKeys({ current: `new:${secret(9)}` })
  const sameId = parseSigningKeys({ current: `test:${secret(9)}` })

  expect(parseSummary(body, rotated).backup_id).toBe(CONTENT.backup_id)
  expect(() => parseSummary(body, foreign)).toThrow(/BACKUP_SIGNING_KEY_PREVIOUS/)
  expect(() => parseSummary(body, sameId)).toThrow(/does not match/)
})

test('a signing key that is none is refused without being repeated', () => {
  const weak = `k1:${Buffer.from('short').toString('base64')}`
  for (const current of [undefined, '', 'k1', weak, `:${'A'.repeat(44)}`, 'k1:not base64!']) {
    expect(() => parseSigningKeys({ current })).toThrow(/BACKUP_SIGNING_KEY must be/)
  }
  const key = `k1:${'A'.repeat(43)}=`
  expect(() => parseSigningKeys({ current: key, previous: key })).toThrow(/same id/)
  expect(parseSigningKeys({ current: key, previous: '' }).previous).toBeUndefined()
})

test('rows of no tenant and the shape of the host’s tables come back as written, signed like the rest', () => {
  const more: SummaryContent = {
    ...CONTENT,
    rows_of_no_tenant: {
      tables: [
        {
          name: 'customers',
          measured_at: '2026-11-20T02:00:00Z',
          without_tenant: 4,
          null_tenant: 3,
          two_tenants: null,
        },
      ],
      not_measured: ['bottles'],
    },
    host_tables: [{ schema: 'public', name: 'customers', columns: 'c', keys: 'k', access: 'a' }],
  }
  const { body } = writeSummary(more, TEST_KEYS)

  expect(parseSummary(body, TEST_KEYS)).toMatchObject(more)
  const forged = Buffer.from(body.toString().replace('"without_tenant": 4', '"without_tenant": 0'))
  expect(() => parseSummary(forged, TEST_KEYS)).toThrow(/signature|signed/i)
})
