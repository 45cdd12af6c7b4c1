import { hash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdtemp, readFile, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import JSZip from 'jszip'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import { exportBackup } from '../../../src/core/backup/export-backup.ts'
import { type SummaryContent, writeSummary } from '../../../src/core/backup/summary.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { BackupError } from '../../../src/core/errors.ts'
import { type OpenArchiveInput, openArchive } from '../../../src/core/restore/open-archive.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
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
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

/** A name that no file should have, and a table of several parts. */
const MORE = `
  create table shop."Price / List" (
    id bigint primary key, tenant_id text not null references shop.tenants (id), value jsonb
  );
  insert into shop."Price / List"
    select row_number() over (), t.id, jsonb_build_object('n', 12345678901234567890.10)
    from shop.tenants t;
  create table shop.documents (
    id bigint primary key, tenant_id text not null references shop.tenants (id), body text
  );
  insert into shop.documents
    select i, 'alpha', repeat(md5(i::text), 20000) from generate_series(1, 30) i;
`

let database: TestDatabase
let store: TestStore
let services: Services
let backup: Backup
let folder: string
let archive: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-archive-'))
  database = await createTestDatabase()
  await installSmallHost(database, MORE)
  store = await createTestStore()
  services = servicesOf(database.worker, store.store)
  const order = { tenantId: ALPHA, backupType: 'manual', actor: SYSTEM } as const
  ;({ backup } = await takeBackup(services, order))
  archive = join(folder, 'archive.zip')
  await pipeline((await exportBackup(services, { backup })).stream, createWriteStream(archive))
})

afterAll(async () => {
  await store?.remove()
  await database?.drop()
  await rm(folder, { recursive: true, force: true })
})

test('gives back every part byte for byte, as the backup has it', async () => {
  const stored = await openBackup(services, backup)

  const source = await open()

  expect(source.kind).toBe('archive')
  expect(source.warnings).toEqual([])
  expect(source.summary).toEqual(stored.summary)
  const parts = source.summary.tables.flatMap((table) => table.parts)
  expect(parts.length).toBeGreaterThan(source.summary.tables.length)
  for (const part of parts) {
    expect((await source.readPart(part)).equals(await stored.readPart(part))).toBe(true)
  }
})

test('holds plain JSON files, the summary as it was signed, and a page that says what it is', async () => {
  const { summary } = await openBackup(services, backup)

  const zip = await loadArchive()

  expect(Object.keys(zip.files).sort()).toEqual([
    'README.txt',
    'summary.json',
    'tables/shop.=50rice=20=2f=20=4cist.json',
    'tables/shop.accounts.json',
    'tables/shop.documents.json',
    'tables/shop.documents.part-0002.json',
    'tables/shop.documents.part-0003.json',
    'tables/shop.entries.json',
    'tables/shop.events.json',
    'tables/shop.pockets.json',
    'tables/shop.tenants.json',
  ])
  const accounts: unknown = JSON.parse(await text(zip, 'tables/shop.accounts.json'))
  expect(accounts).toHaveLength(20)
  expect(await text(zip, 'tables/shop.=50rice=20=2f=20=4cist.json')).toContain(
    '12345678901234567890.10',
  )
  const stored = await readFile(join(store.folder, backup.summaryPath ?? ''), 'utf8')
  expect(await text(zip, 'summary.json')).toBe(stored)
  const readme = await text(zip, 'README.txt')
  expect(readme).toContain('A backup of Alpha Gases')
  expect(readme).toContain(summary.taken_at)
  expect(readme).toContain(`restore --tenant ${ALPHA} --from`)
  expect(readme).toMatch(/personal data/)
})

test('names the file for a folder of downloads', async () => {
  const { fileName, stream } = await exportBackup(services, { backup })
  stream.destroy()
  expect(fileName).toMatch(/^alpha-gases-\d{4}-\d\d-\d\d-\d{6}\.zip$/)
})

/** What somebody may do to an archive; each is refused with this code, at once or when the part is read. */
const TAMPERINGS: [string, string, (zip: JSZip) => void | Promise<void>][] = [
  [
    'a changed byte of a row',
    'backup_damaged',
    async (zip) => {
      const body = await text(zip, 'tables/shop.accounts.json')
      zip.file('tables/shop.accounts.json', body.replace('100.0000', '900.0000'))
    },
  ],
  [
    'an extra row',
    'backup_damaged',
    async (zip) => {
      const body = await text(zip, 'tables/shop.accounts.json')
      zip.file('tables/shop.accounts.json', body.replace(/\n\]\n$/, '\n,{"id":999}\n]\n'))
    },
  ],
  [
    'a row less',
    'backup_damaged',
    async (zip) => {
      const body = await text(zip, 'tables/shop.accounts.json')
      zip.file('tables/shop.accounts.json', body.replace(/\n,[^\n]*\n\]\n$/, '\n]\n'))
    },
  ],
  [
    'two tables swapped',
    'backup_damaged',
    (zip) => swap(zip, 'tables/shop.accounts.json', 'tables/shop.pockets.json'),
  ],
  [
    'two parts of one table swapped',
    'backup_damaged',
    (zip) => swap(zip, 'tables/shop.documents.json', 'tables/shop.documents.part-0002.json'),
  ],
  [
    'a missing part',
    'archive_unreadable',
    (zip) => void zip.remove('tables/shop.documents.part-0002.json'),
  ],
  ['a missing summary', 'archive_unreadable', (zip) => void zip.remove('summary.json')],
  [
    'a bomb',
    'backup_damaged',
    (zip) => void zip.file('tables/shop.events.json', Buffer.alloc(64 * 1024 * 1024, 0x20)),
  ],
  [
    'a bomb in place of the summary',
    'backup_damaged',
    (zip) => void zip.file('summary.json', Buffer.alloc(80 * 1024 * 1024, 0x20)),
  ],
  [
    'a changed number in the summary',
    'backup_damaged',
    async (zip) => {
      const body = await text(zip, 'summary.json')
      zip.file('summary.json', body.replace('"name": "shop.tenants"', '"name": "shop.renters"'))
    },
  ],
  [
    'a summary of another key',
    'backup_damaged',
    async (zip) =>
      zip.file('summary.json', writeSummary(await contentOf(zip), otherKeys()).body) && undefined,
  ],
  [
    'a summary with a forged signature of our key',
    'backup_damaged',
    async (zip) => {
      const forged = writeSummary(await contentOf(zip), otherKeys('test')).body
      zip.file('summary.json', forged)
    },
  ],
  [
    'a summary without a signature',
    'backup_damaged',
    async (zip) => void zip.file('summary.json', JSON.stringify(await contentOf(zip))),
  ],
  ['a summary that is no JSON', 'backup_damaged', (zip) => void zip.file('summary.json', '{')],
  [
    'a signed summary whose parts are of another tenant',
    'backup_damaged',
    async (zip) => {
      const content = await contentOf(zip)
      const foreign = JSON.stringify(content).replaceAll(
        `tenant-backups/${ALPHA}/`,
        `tenant-backups/${BETA}/`,
      )
      zip.file('summary.json', writeSummary(JSON.parse(foreign), TEST_KEYS).body)
    },
  ],
]

test.each(TAMPERINGS)('refuses %s with %s', async (_, code, tamper) => {
  const file = await rewrite(tamper)
  expect((await refusal({ file })).code).toBe(code)
})

test.each([
  ['cut short', (bytes: Buffer) => bytes.subarray(0, bytes.length - 30)],
  ['cut in half', (bytes: Buffer) => bytes.subarray(0, bytes.length / 2)],
  ['empty', () => Buffer.alloc(0)],
  ['no zip at all', () => Buffer.from('hello')],
])('refuses a file that is %s', async (_, change) => {
  const file = join(folder, 'broken.zip')
  await writeFile(file, change(await readFile(archive)))
  expect((await refusal({ file })).code).toBe('archive_unreadable')
})

test('a changed byte anywhere is refused, or changes nothing that is read', async () => {
  const bytes = await readFile(archive)
  const file = join(folder, 'changed.zip')
  const codes = new Set<string>()
  // Densely at its end, where the table of contents is, and over all of it.
  const offsets = [
    ...Array.from({ length: 40 }, (_, at) => Math.floor((bytes.length * at) / 40)),
    ...Array.from({ length: 40 }, (_, at) => bytes.length - 1 - 7 * at),
  ]
  for (const offset of offsets) {
    const changed = Buffer.from(bytes)
    changed[offset] = (changed[offset] ?? 0) ^ 0x55
    await writeFile(file, changed)
    codes.add(await readProven(file))
  }
  expect([...codes].sort()).toEqual(['archive_unreadable', 'backup_damaged', 'unchanged'])
}, 120_000)

test("refuses another tenant's archive", async () => {
  const error = await refusal({ tenantId: BETA })
  expect([error.code, error.message]).toEqual([
    'archive_unreadable',
    'The archive is of another tenant.',
  ])
})

test('refuses a file beyond the limit before reading it', async () => {
  const file = join(folder, 'huge.zip')
  await writeFile(file, '')
  await truncate(file, 1_000_000_001)
  expect((await refusal({ file })).message).toMatch(/no more than 1000 MB/)
  await unlink(file)
})

test('says that a file is not there', async () => {
  expect((await refusal({ file: join(folder, 'nowhere.zip') })).code).toBe('archive_unreadable')
})

test('pays no heed to entries that the summary does not name, wherever they point', async () => {
  const file = await rewrite((zip) => {
    zip.file('../../evil.txt', 'x')
    zip.file('/etc/evil.txt', 'x')
    zip.file('tables/other.json', '[]')
  })
  const source = await open({ file })
  for (const part of source.summary.tables.flatMap((table) => table.parts)) {
    await source.readPart(part)
  }
})

test('takes an archive of a foreign key or none only when told to, with a warning, and proves its parts', async () => {
  const foreign = await rewrite(
    async (zip) =>
      void zip.file('summary.json', writeSummary(await contentOf(zip), otherKeys()).body),
  )
  const unsigned = await rewrite(async (zip) => {
    zip.file('summary.json', JSON.stringify(await contentOf(zip)))
  })
  for (const file of [foreign, unsigned]) {
    const source = await open({ file, mayBeUnsigned: true })
    expect(source).toMatchObject({ kind: 'unsigned', isPlainJson: false })
    expect(source.warnings.map(({ code }) => code)).toEqual(['unsigned'])
  }
  const changed = await rewrite(async (zip) => {
    zip.file('summary.json', JSON.stringify(await contentOf(zip)))
    zip.file('tables/shop.events.json', '[\n]\n')
  })
  expect((await refusal({ file: changed, mayBeUnsigned: true })).code).toBe('backup_damaged')
})

test('does not take a forged signature of our own key even when told to', async () => {
  const file = await rewrite(async (zip) => {
    zip.file('summary.json', writeSummary(await contentOf(zip), otherKeys('test')).body)
  })
  expect((await refusal({ file, mayBeUnsigned: true })).code).toBe('backup_damaged')
})

test('an archive of a backup with a missing or damaged part ends in an error', async () => {
  const path = await lastPartPath()
  const object = join(store.folder, path)
  const bytes = await readFile(object)
  try {
    await writeFile(object, Buffer.concat([bytes, Buffer.from('x')]))
    await expect(exportToNowhere()).rejects.toMatchObject({ code: 'backup_damaged' })
    await unlink(object)
    await expect(exportToNowhere()).rejects.toMatchObject({ code: 'object_missing' })
  } finally {
    await writeFile(object, bytes)
  }
})

test('refuses to export what is not complete', async () => {
  await expect(
    exportBackup(services, { backup: { ...backup, status: 'failed' } }),
  ).rejects.toMatchObject({ code: 'backup_incomplete' })
})

test('stops when it is told to', async () => {
  const stop = new AbortController()
  const { stream } = await exportBackup(services, { backup, signal: stop.signal })
  stop.abort()
  await expect(
    pipeline(stream, createWriteStream(join(folder, 'stopped.zip'))),
  ).rejects.toMatchObject({ code: 'backup_cancelled' })
})

async function exportToNowhere(): Promise<void> {
  const { stream } = await exportBackup(services, { backup })
  await pipeline(stream, createWriteStream(join(folder, 'nowhere.zip')))
}

async function lastPartPath(): Promise<string> {
  const { summary } = await openBackup(services, backup)
  const path = summary.tables.at(-1)?.parts.at(-1)?.path
  if (path === undefined) throw new Error('There is no part.')
  return path
}

function open(input: Partial<OpenArchiveInput> = {}) {
  return openArchive({ file: archive, signingKeys: TEST_KEYS, tenantId: ALPHA, ...input })
}

/** Opens and reads everything; what the first refusal says. */
async function refusal(input: Partial<OpenArchiveInput>): Promise<BackupError> {
  try {
    const source = await open(input)
    for (const part of source.summary.tables.flatMap((table) => table.parts)) {
      await source.readPart(part)
    }
  } catch (error) {
    if (error instanceof BackupError) return error
    throw error
  }
  throw new Error('It was not refused.')
}

/** The code of the refusal, or `unchanged` where every part is what was signed. */
async function readProven(file: string): Promise<string> {
  try {
    const source = await open({ file })
    for (const part of source.summary.tables.flatMap((table) => table.parts)) {
      const raw = await source.readPart(part)
      if (hash('sha256', raw, 'hex') !== part.raw_sha256) return 'changed'
    }
    return 'unchanged'
  } catch (error) {
    if (error instanceof BackupError) return error.code
    throw error
  }
}

async function loadArchive(): Promise<JSZip> {
  return JSZip.loadAsync(await readFile(archive))
}

async function rewrite(tamper: (zip: JSZip) => unknown): Promise<string> {
  const zip = await loadArchive()
  await tamper(zip)
  const file = await mkdtemp(join(folder, 'tampered-'))
  const target = join(file, 'archive.zip')
  await writeFile(target, await zip.generateAsync({ type: 'nodebuffer', compression: 'DEFLATE' }))
  return target
}

async function text(zip: JSZip, name: string): Promise<string> {
  const entry = zip.file(name)
  if (entry === null) throw new Error(`There is no ${name}.`)
  return entry.async('string')
}

async function swap(zip: JSZip, one: string, other: string): Promise<void> {
  const [first, second] = [await text(zip, one), await text(zip, other)]
  zip.file(one, second)
  zip.file(other, first)
}

/** The summary without its signature. */
async function contentOf(zip: JSZip): Promise<SummaryContent> {
  const { signature: _, ...content } = JSON.parse(await text(zip, 'summary.json'))
  return content
}
