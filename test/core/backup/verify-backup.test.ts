import { createHash } from 'node:crypto'
import { readFile, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import { listBackups } from '../../../src/core/backup/list-backups.ts'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import { type Summary, writeSummary } from '../../../src/core/backup/summary.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { updateBackup } from '../../../src/core/backup/update-backup.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import type { Services } from '../../../src/core/services.ts'
import {
  createTestStore,
  otherKeys,
  SYSTEM,
  servicesOf,
  TEST_KEYS,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { FaultyStore } from '../../support/faulty-store.ts'
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let store: TestStore
let services: Services
let backup: Backup
let summary: Summary
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
})
beforeEach(async () => {
  await database.superuser.query(
    'delete from public.backup_logs; delete from public.tenant_backups',
  )
  store = await createTestStore()
  services = servicesOf(database.worker, store.store)
  backup = await take(ALPHA)
  summary = await loadSummary(services, backup)
  return () => store.remove()
})
afterAll(() => database?.drop())

async function take(tenantId: string): Promise<Backup> {
  const taken = await takeBackup(services, { tenantId, backupType: 'manual', actor: SYSTEM })
  return taken.backup
}

function fileOf(name: string): string {
  const part = summary.tables.find((table) => table.name === name)?.parts[0]
  if (part === undefined) throw new Error(`${name} is not in the backup`)
  return join(store.folder, part.path)
}

const summaryFile = () => join(store.folder, backup.summaryPath ?? '')
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

/** What somebody could do who may write the catalog too: the digest there is made to fit. */
async function replaceSummary(body: Buffer): Promise<void> {
  await writeFile(summaryFile(), body)
  await database.superuser.query(
    `update public.tenant_backups set summary_sha256 = $1 where id = $2`,
    [sha256(body), backup.id],
  )
}

test('an unharmed backup is intact, and the catalog notes when that was seen', async () => {
  const result = await verifyBackup(services, backup.id)
  const { backups } = await listBackups(database.worker, { tenantId: ALPHA })

  expect(result).toMatchObject({ isIntact: true, findings: [], objects: 6, rows: 110 })
  expect(Date.parse(backups[0]?.verifiedAt ?? '')).toBeGreaterThan(
    Date.parse(backup.verifiedAt ?? ''),
  )
})

const PART_DAMAGES: [string, (file: string) => Promise<void>, RegExp][] = [
  ['missing', (file) => rm(file), /./],
  ['cut short', (file) => truncate(file, 30), /shorter/],
  [
    'longer',
    async (file) => writeFile(file, Buffer.concat([await readFile(file), Buffer.from('x')])),
    /longer/,
  ],
  [
    'altered in one byte',
    async (file) => {
      const bytes = await readFile(file)
      bytes[20] = (bytes[20] ?? 0) ^ 1
      await writeFile(file, bytes)
    },
    /SHA-256/,
  ],
  ['another table of the same backup', async (file) => rename(fileOf('shop.accounts'), file), /./],
  ['empty', (file) => truncate(file, 0), /shorter/],
]
test.each(PART_DAMAGES)('a part that is %s is found and named', async (_, damage, message) => {
  await damage(fileOf('shop.entries'))
  const result = await verifyBackup(services, backup.id)

  expect(result.isIntact).toBe(false)
  const finding = result.findings.find((found) => found.table === 'shop.entries')
  expect(finding?.message).toMatch(message)
  const { backups } = await listBackups(database.worker, { tenantId: ALPHA })
  expect(backups[0]?.verifiedAt).toBe(backup.verifiedAt)
})

test('everything that is wrong is listed, not only the first', async () => {
  await rm(fileOf('shop.entries'))
  await truncate(fileOf('shop.events'), 30)
  const { findings } = await verifyBackup(services, backup.id)

  expect(findings.map((finding) => [finding.code, finding.table]).sort()).toEqual([
    ['backup_damaged', 'shop.events'],
    ['object_missing', 'shop.entries'],
  ])
})

const SUMMARY_DAMAGES: [string, () => Promise<void>, RegExp][] = [
  ['missing', () => rm(summaryFile()), /./],
  [
    'changed',
    async () => {
      const text = await readFile(summaryFile(), 'utf8')
      await writeFile(summaryFile(), text.replace('"note": null', '"note": "x"'))
    },
    /not the one that the catalog names/,
  ],
  [
    'changed together with the catalog',
    async () => {
      const text = await readFile(summaryFile(), 'utf8')
      await replaceSummary(Buffer.from(text.replace('"note": null', '"note": "x"')))
    },
    /signature/i,
  ],
  [
    'signed by somebody else',
    async () => {
      const { signature: _, ...content } = summary
      await replaceSummary(writeSummary(content, otherKeys()).body)
    },
    /signed with the key/,
  ],
  [
    'signed by somebody else under the name of our key',
    async () => {
      const { signature: _, ...content } = summary
      await replaceSummary(writeSummary(content, otherKeys('test')).body)
    },
    /does not match/,
  ],
  [
    'that of another tenant, honestly signed',
    async () => {
      const beta = await take(BETA)
      await replaceSummary(await readFile(join(store.folder, beta.summaryPath ?? '')))
    },
    /another backup or tenant/,
  ],
  ['not JSON', () => replaceSummary(Buffer.from('hello')), /not JSON/],
]
test.each(SUMMARY_DAMAGES)('a summary that is %s is found', async (_, damage, message) => {
  await damage()
  const { isIntact, findings } = await verifyBackup(services, backup.id)

  expect(isIntact).toBe(false)
  expect(findings).toMatchObject([
    { table: null, path: backup.summaryPath, message: expect.stringMatching(message) },
  ])
})

/** With our own key: what a faulty writer of ours would have signed. */
async function signAnew(
  edit: (part: Summary['tables'][number]['parts'][number]) => void,
): Promise<void> {
  const { signature: _, ...content } = structuredClone(summary)
  const table = content.tables.find((candidate) => candidate.name === 'shop.entries')
  if (table?.parts[0] === undefined) throw new Error('no part')
  edit(table.parts[0])
  const sums = { rows: 0, raw_bytes: 0, stored_bytes: 0 }
  for (const field of ['rows', 'raw_bytes', 'stored_bytes'] as const) {
    table[field] = table.parts.reduce((total, part) => total + part[field], 0)
    sums[field] = content.tables.reduce((total, one) => total + one[field], 0)
  }
  content.totals = { ...content.totals, ...sums }
  await replaceSummary(writeSummary(content, TEST_KEYS).body)
  await database.superuser.query(
    'update public.tenant_backups set total_records = $1, raw_size = $2 where id = $3',
    [sums.rows, sums.raw_bytes, backup.id],
  )
}

test('a signed row count that the file does not have is found', async () => {
  await signAnew((part) => {
    part.rows += 1
  })
  const { findings } = await verifyBackup(services, backup.id)
  expect(findings).toMatchObject([
    { table: 'shop.entries', message: expect.stringMatching(/rows/) },
  ])
})

test('two gzip members behind an honest digest are found', async () => {
  const file = fileOf('shop.entries')
  const raw = gunzipSync(await readFile(file))
  const cut = raw.indexOf('\n', 100) + 1
  const stored = Buffer.concat([gzipSync(raw.subarray(0, cut)), gzipSync(raw.subarray(cut))])
  await writeFile(file, stored)
  await signAnew((part) => {
    part.stored_bytes = stored.length
    part.stored_sha256 = sha256(stored)
  })
  const { findings } = await verifyBackup(services, backup.id)
  expect(findings).toMatchObject([
    { table: 'shop.entries', message: expect.stringMatching(/more than one gzip member/) },
  ])
})

test('a decompression bomb is not unpacked', async () => {
  const stored = gzipSync(Buffer.alloc(200 * 1024 * 1024))
  await writeFile(fileOf('shop.entries'), stored)
  await signAnew((part) => {
    part.stored_bytes = stored.length
    part.stored_sha256 = sha256(stored)
  })
  const before = process.memoryUsage().rss
  const { findings } = await verifyBackup(services, backup.id)

  expect(findings).toMatchObject([
    { table: 'shop.entries', message: expect.stringMatching(/unpacked/) },
  ])
  expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024)
})

test('a part that belongs to another tenant is found', async () => {
  const beta = await take(BETA)
  const betaSummary = await loadSummary(services, beta)
  const foreign = betaSummary.tables.find((table) => table.name === 'shop.entries')?.parts[0]
  if (foreign === undefined) throw new Error('no part')
  await signAnew((part) => Object.assign(part, foreign))
  const { findings } = await verifyBackup(services, backup.id)
  expect(findings).toMatchObject([
    { table: 'shop.entries', message: expect.stringMatching(/of another tenant/) },
  ])
})

test('a catalog that tells other numbers than the signed summary is found', async () => {
  await database.superuser.query(
    'update public.tenant_backups set total_records = 7 where id = $1',
    [backup.id],
  )
  const { findings } = await verifyBackup(services, backup.id)
  expect(findings).toMatchObject([
    { message: 'The catalog says 7 where the signed summary says 110 (rows).' },
  ])
})

test('a store that cannot be reached says nothing about the backup', async () => {
  const down = new FaultyStore(store.store, { call: 3, method: 'get', how: 'error' })
  await expect(verifyBackup({ ...services, store: down }, backup.id)).rejects.toMatchObject({
    code: 'store_unavailable',
  })
})

test('only complete backups can be verified', async () => {
  await expect(
    verifyBackup(services, '00000000-0000-4000-8000-000000000000'),
  ).rejects.toMatchObject({ code: 'backup_not_found' })
  await database.superuser.query(
    `update public.tenant_backups set status = 'failed', error_code = 'x', error_message = 'y' where id = $1`,
    [backup.id],
  )
  const { findings } = await verifyBackup(services, backup.id).catch((error) => ({
    findings: error.code,
  }))
  expect(findings).toBe('backup_incomplete')
})

test('lists newest first, page by page, by tenant, status and day', async () => {
  const second = await take(ALPHA)
  const beta = await take(BETA)
  const list = async (input: Parameters<typeof listBackups>[1]) => {
    const page = await listBackups(database.worker, input)
    return { ids: page.backups.map((one) => one.id), nextCursor: page.nextCursor }
  }
  const first = await list({ tenantId: ALPHA, limit: 1 })
  expect(first).toEqual({ ids: [second.id], nextCursor: second.id })
  const rest = await list({ tenantId: ALPHA, limit: 1, cursor: second.id })
  expect(rest).toEqual({ ids: [backup.id], nextCursor: null })
  expect((await list({})).ids).toEqual([beta.id, second.id, backup.id])
  expect((await list({ statuses: ['failed'] })).ids).toEqual([])
  expect((await list({ fromDate: '2999-01-01' })).ids).toEqual([])
  expect((await list({ toDate: backup.backupDate, backupTypes: ['manual'] })).ids).toHaveLength(3)
})

test('note, tags and pin change, what is not named stays, and the journal knows who', async () => {
  const actor = { kind: 'user', id: 'u1', label: 'ann@example.com' } as const
  await updateBackup(services, {
    backupId: backup.id,
    tenantId: ALPHA,
    actor,
    note: 'keep',
    tags: ['a', 'b'],
  })
  const pinned = await updateBackup(services, {
    backupId: backup.id,
    actor,
    pin: { reason: 'a lawsuit' },
  })
  const unpinned = await updateBackup(services, {
    backupId: backup.id,
    actor,
    pin: null,
    note: null,
  })
  const { rows } = await database.admin.query(
    `select actor_label, details from public.backup_logs where backup_type = 'update' order by created_at`,
  )

  expect(pinned).toMatchObject({
    note: 'keep',
    tags: ['a', 'b'],
    pinReason: 'a lawsuit',
    pinnedBy: 'ann@example.com',
  })
  expect(unpinned).toMatchObject({
    note: null,
    tags: ['a', 'b'],
    pinReason: null,
    pinnedAt: null,
    pinnedBy: null,
  })
  expect(rows).toEqual([
    { actor_label: 'ann@example.com', details: { changed: ['note', 'tags'] } },
    { actor_label: 'ann@example.com', details: { changed: ['pin'], pin_reason: 'a lawsuit' } },
    { actor_label: 'ann@example.com', details: { changed: ['note', 'pin'], pin_reason: null } },
  ])
})

test('an update of what is not there, not yours, or not complete is refused and leaves no trace', async () => {
  const update = (input: Partial<Parameters<typeof updateBackup>[1]>) =>
    updateBackup(services, { backupId: backup.id, actor: SYSTEM, ...input })
  await expect(update({ tenantId: BETA, note: 'x' })).rejects.toMatchObject({
    code: 'backup_not_found',
  })
  await expect(update({ pin: { reason: '  ' } })).rejects.toMatchObject({ code: 'invalid_request' })
  await database.superuser.query(
    `update public.tenant_backups set status = 'failed', error_code = 'x', error_message = 'y'`,
  )
  await expect(update({ pin: { reason: 'x' } })).rejects.toMatchObject({
    code: 'backup_incomplete',
  })
  const { rows } = await database.admin.query(
    `select 1 from public.backup_logs where backup_type = 'update'`,
  )
  expect(rows).toEqual([])
})
