import { hash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import { exportBackup } from '../../../src/core/backup/export-backup.ts'
import { type SigningKeys, sign } from '../../../src/core/backup/signature.ts'
import { type SummaryContent, sum } from '../../../src/core/backup/summary.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { BackupError } from '../../../src/core/errors.ts'
import type { BackupSource } from '../../../src/core/restore/backup-source.ts'
import { openArchive } from '../../../src/core/restore/open-archive.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { openPlainFiles } from '../../../src/core/restore/open-plain-files.ts'
import { RestoreOptions } from '../../../src/core/restore/restore-options.ts'
import { restoreTenant } from '../../../src/core/restore/restore-tenant.ts'
import { readProtectedTables } from '../../../src/core/tables/read-protected-tables.ts'
import { otherKeys, SYSTEM, TEST_KEYS } from '../../support/backup-services.ts'
import { readRowVersions } from '../../support/expect-others-equal.ts'
import {
  createRestoreTrial,
  type Options,
  type RestoreTrial,
  readBackup,
} from '../../support/restore-trial.ts'

/** Customers of odd numbers are the neighbour's, those of even numbers ours; rentals follow their customer. */
const HOST = {
  sql: `
    create table orgs (id int primary key, name text);
    create table customers (id int primary key, org_id int not null references orgs, name text not null, facts jsonb);
    create table rentals (id int primary key, customer_id int not null references customers, note text);
    create table codes (code text primary key, org_id int not null references orgs);
    create table remarks (org_id int not null references orgs, body text);
    insert into orgs values (1, 'ours'), (2, 'the neighbour’s');
    insert into customers select i, 1 + i % 2, 'customer ' || i, '{"a": [1, null]}' from generate_series(1, 60) i;
    insert into rentals select i, i, repeat(md5(i::text), 3) from generate_series(1, 60) i;
    insert into codes select 'code ' || i, 1 + i % 2 from generate_series(1, 20) i;
    insert into remarks select 1 + i % 2, 'r' || i % 5 from generate_series(1, 40) i;`,
  options: { tenantTable: 'orgs', tenantColumns: ['org_id'] },
  tenants: ['1', '2'],
  owns: {
    orgs: 't.id::text = $1',
    customers: 't.org_id::text = $1',
    rentals: 'exists (select from customers c where c.id = t.customer_id and c.org_id::text = $1)',
    codes: 't.org_id::text = $1',
    remarks: 't.org_id::text = $1',
  },
} as const

/** Every table differs from the backup, so that every part is read; and another day's backup is not this one's. */
const DAMAGE = `
  update orgs set name = name || '!' where id = 1;
  update customers set name = name || '!' where org_id = 1;
  update rentals set note = note || '!' where customer_id % 2 = 0;
  delete from codes where code = (select min(code) from codes where org_id = 1);
  insert into remarks values (1, 'newer')`

let trial: RestoreTrial
let backup: Backup
let earlier: Backup
let neighbours: Backup
/** Every object of the store as it was written. */
let stored: Map<string, Buffer>
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-tampering-'))
  trial = await createRestoreTrial(HOST)
  earlier = await trial.backUp()
  await trial.damage(DAMAGE)
  backup = await trial.backUp()
  await trial.damage(DAMAGE)
  const order = { tenantId: trial.neighbour, backupType: 'manual', actor: SYSTEM } as const
  neighbours = (await takeBackup(trial.services, order)).backup
  stored = await readStore()
})
beforeEach(async () => {
  await writeStore(stored)
  await nameInCatalog(stored.get(backup.summaryPath ?? ''))
})
afterAll(async () => {
  await trial?.drop()
  await rm(folder, { recursive: true, force: true })
})

interface Tampering {
  name: string
  /** What a real restore fails with. */
  code: string
  message?: RegExp
  /** What a dry run names, where reading the backup is not enough to see it. */
  blocker?: string
  /** Whether an archive can hold the same. */
  inArchive?: true
  options?: Options
  tamper: (files: Files) => void
}

/** To add to it, say what somebody does to the files. Each is refused before the first write. */
const TAMPERINGS: readonly Tampering[] = [
  // Somebody who can write to the store.
  {
    name: 'a part cut short by a byte',
    code: 'backup_damaged',
    message: /is shorter/,
    tamper: (files) => files.change('customers', (bytes) => bytes.subarray(0, -1)),
  },
  {
    name: 'a byte behind a part',
    code: 'backup_damaged',
    message: /is longer/,
    tamper: (files) => files.change('customers', (bytes) => Buffer.concat([bytes, Buffer.of(0)])),
  },
  {
    name: 'an empty part',
    code: 'backup_damaged',
    tamper: (files) => files.change('remarks', () => Buffer.alloc(0)),
  },
  {
    name: 'a missing part',
    code: 'object_missing',
    tamper: (files) => void files.objects.delete(files.pathOf('rentals')),
  },
  {
    name: 'a missing summary',
    code: 'object_missing',
    tamper: (files) => void files.objects.delete(backup.summaryPath ?? ''),
  },
  {
    name: 'an extra row',
    code: 'backup_damaged',
    tamper: (files) =>
      files.change('customers', (bytes) =>
        pack([...unpack(bytes), { id: 900, org_id: 1, name: 'x' }]),
      ),
  },
  {
    name: 'a row less',
    code: 'backup_damaged',
    tamper: (files) => files.change('remarks', (bytes) => pack(unpack(bytes).slice(1))),
  },
  {
    name: 'the same rows packed anew',
    code: 'backup_damaged',
    tamper: (files) =>
      files.change('customers', (bytes) => gzipSync(gunzipSync(bytes), { level: 0 })),
  },
  {
    name: 'two tables’ parts swapped',
    code: 'backup_damaged',
    tamper: (files) => files.swap(files.pathOf('customers'), files.pathOf('rentals')),
  },
  {
    name: 'the part of another tenant in place of ours',
    code: 'backup_damaged',
    tamper: (files) => files.swap(files.pathOf('customers'), files.pathOf('customers', neighbours)),
  },
  {
    name: 'the part of another date in place of ours',
    code: 'backup_damaged',
    tamper: (files) => files.swap(files.pathOf('customers'), files.pathOf('customers', earlier)),
  },
  {
    name: 'the summary of another date',
    code: 'backup_damaged',
    message: /not the one that the catalog names/,
    tamper: (files) => files.swap(backup.summaryPath ?? '', earlier.summaryPath ?? ''),
  },
  {
    name: 'the summary of another tenant',
    code: 'backup_damaged',
    message: /not the one that the catalog names/,
    tamper: (files) => files.swap(backup.summaryPath ?? '', neighbours.summaryPath ?? ''),
  },
  // Somebody who can write to store and catalog, without the key.
  {
    name: 'the summary of another date, and the catalog made to fit',
    code: 'backup_damaged',
    message: /another backup or tenant/,
    tamper: (files) => files.putSummary(files.summaryOf(earlier)),
  },
  {
    name: 'the summary of another tenant, and the catalog made to fit',
    code: 'backup_damaged',
    message: /another backup or tenant/,
    tamper: (files) => files.putSummary(files.summaryOf(neighbours)),
  },
  {
    name: 'a changed summary with its old signature',
    code: 'backup_damaged',
    message: /signature/,
    tamper: (files) =>
      files.putSummary(
        Buffer.from(files.summaryOf(backup).toString().replace('"note": null', '"note": "x"')),
      ),
  },
  {
    name: 'a summary that a foreign key signed',
    code: 'backup_damaged',
    message: /is not configured/,
    tamper: (files) => files.sign({ keys: otherKeys() }),
  },
  {
    name: 'a summary that a foreign key of our name signed',
    code: 'backup_damaged',
    message: /does not match/,
    tamper: (files) => files.sign({ keys: otherKeys('test') }),
  },
  {
    name: 'a summary without a signature',
    code: 'backup_damaged',
    tamper: (files) => files.putSummary(Buffer.from(JSON.stringify(files.content))),
  },
  // A writer gone wrong, that signs what it writes.
  {
    name: 'a signed row with another tenant’s id',
    code: 'row_outside_tenant',
    message: /name another tenant/,
    inArchive: true,
    tamper: (files) =>
      files.forge('customers', (rows) => [{ ...rows[0], org_id: 2 }, ...rows.slice(1)]),
  },
  {
    name: 'a signed row with another tenant’s id in a table without a key',
    code: 'row_outside_tenant',
    message: /name another tenant/,
    tamper: (files) => files.forge('remarks', (rows) => [...rows, { org_id: 2, body: 'r' }]),
  },
  {
    name: 'another tenant’s own row',
    code: 'row_outside_tenant',
    message: /name another tenant/,
    tamper: (files) => files.forge('orgs', () => [{ id: 2, name: 'ours now' }]),
  },
  {
    name: 'a signed row whose owner is another tenant’s',
    code: 'row_outside_tenant',
    blocker: 'row_outside_tenant',
    inArchive: true,
    tamper: (files) =>
      files.forge('rentals', (rows) => [...rows, { id: 901, customer_id: 7, note: 'x' }]),
  },
  {
    name: 'a signed row that goes over to another tenant’s owner',
    code: 'row_outside_tenant',
    blocker: 'row_outside_tenant',
    tamper: (files) =>
      files.forge('rentals', (rows) => [{ ...rows[0], customer_id: 7 }, ...rows.slice(1)]),
  },
  {
    name: 'a signed row with the key of another tenant’s row',
    code: 'restore_blocked',
    blocker: 'key_taken',
    inArchive: true,
    tamper: (files) =>
      files.forge('customers', (rows) => [...rows, { id: 7, org_id: 1, name: 'x' }]),
  },
  {
    name: 'a signed row of an owned table with the key of another tenant’s row',
    code: 'restore_blocked',
    blocker: 'key_taken',
    tamper: (files) =>
      files.forge('rentals', (rows) => [...rows, { id: 7, customer_id: 2, note: 'x' }]),
  },
  {
    name: 'a key twice',
    code: 'backup_damaged',
    message: /holds a key twice/,
    tamper: (files) => files.forge('codes', (rows) => [...rows, ...rows.slice(0, 1)]),
  },
  {
    name: 'an empty key',
    code: 'backup_damaged',
    message: /or an empty one/,
    tamper: (files) => files.forge('codes', (rows) => [...rows, { code: null, org_id: 1 }]),
  },
  {
    name: 'a value that is none of its type',
    code: 'backup_damaged',
    message: /can't be read as this table's rows/,
    tamper: (files) => files.forge('customers', (rows) => [...rows, { id: 'x', org_id: 1 }]),
  },
  ...['[1,2]', '{"id":1', '{"id":1}{"id":2}', '', '\\N', '\u0001x\u0002'].map(
    (line): Tampering => ({
      name: `a line that is no row: ${JSON.stringify(line)}`,
      code: 'backup_damaged',
      message: /can't be read as this table's rows/,
      tamper: (files) => files.forgeLines('customers', (lines) => [...lines, line]),
    }),
  ),
  {
    name: 'a line that is null',
    code: 'backup_damaged',
    tamper: (files) => files.forgeLines('codes', (lines) => [...lines, 'null']),
  },
  {
    name: 'fewer rows than were signed',
    code: 'backup_damaged',
    message: /does not hold the 31 rows/,
    tamper: (files) => {
      files.table('customers').parts[0].rows += 1
      files.sign()
    },
  },
  {
    name: 'a bomb',
    code: 'backup_damaged',
    message: /can't be unpacked/,
    tamper: (files) => files.forgeStored('rentals', gzipSync(Buffer.alloc(200 * 1024 * 1024))),
  },
  {
    name: 'a second gzip member',
    code: 'backup_damaged',
    message: /more than one gzip member/,
    tamper: (files) => {
      const bytes = files.objects.get(files.pathOf('rentals')) ?? Buffer.alloc(0)
      files.forgeStored('rentals', Buffer.concat([bytes, gzipSync('')]))
    },
  },
  {
    name: 'a second gzip member with the second half of the rows',
    code: 'backup_damaged',
    message: /more than one gzip member/,
    tamper: (files) => {
      const raw = gunzipSync(files.objects.get(files.pathOf('rentals')) ?? '')
      const cut = raw.indexOf('\n', 500) + 1
      const halves = [raw.subarray(0, cut), raw.subarray(cut)].map((half) => gzipSync(half))
      files.forgeStored('rentals', Buffer.concat(halves))
    },
  },
  {
    name: 'a gzip member with a name in its header',
    code: 'backup_damaged',
    message: /is not a gzip file of ours/,
    tamper: (files) => {
      const bytes = gzipSync(gunzipSync(files.objects.get(files.pathOf('rentals')) ?? ''))
      bytes[3] = 8
      files.forgeStored(
        'rentals',
        Buffer.concat([bytes.subarray(0, 10), Buffer.from('x\0'), bytes.subarray(10)]),
      )
    },
  },
  {
    name: 'a signed part of another tenant’s folder',
    code: 'backup_damaged',
    message: /is of another tenant/,
    tamper: (files) => {
      Object.assign(files.table('customers'), files.table('customers', neighbours))
      files.sign()
    },
  },
  {
    name: 'a signed part of another table',
    code: 'backup_damaged',
    tamper: (files) => {
      const { rows, raw_bytes, stored_bytes, parts } = files.table('rentals')
      Object.assign(files.table('codes'), { rows, raw_bytes, stored_bytes, parts })
      files.sign()
    },
  },
  ...['../../../etc/passwd', 'tenant-backups/1/../2/x.json.gz', '__proto__'].map(
    (path): Tampering => ({
      name: `a signed part that lies at ${path}`,
      code: 'backup_damaged',
      message: /is not the path of a backup object/,
      inArchive: true,
      tamper: (files) => {
        files.table('customers').parts[0].path = path
        files.sign()
      },
    }),
  ),
  {
    name: 'sums that do not add up',
    code: 'backup_damaged',
    message: /contradicts itself/,
    tamper: (files) => {
      files.content.totals.rows += 1
      files.sign({ isSummed: false })
    },
  },
  {
    name: 'a table twice',
    code: 'backup_damaged',
    message: /names a table twice/,
    tamper: (files) => {
      files.content.tables.push(files.table('codes'))
      files.sign()
    },
  },
  {
    name: 'a format of the future',
    code: 'backup_damaged',
    message: /format version 2/,
    tamper: (files) =>
      files.signText((text) => text.replace('"format_version":1', '"format_version":2')),
  },
  ...[
    ['an encoding made of SQL', '"encoding":"scalar"', `"encoding":"text; drop table codes"`],
    ['a number of rows made of SQL', '"rows":30', '"rows":"30; drop table codes"'],
    ['a field that nobody knows', '"tags":[]', '"tags":[],"sql":"drop table codes"'],
    ['a field called __proto__', '"tags":[]', '"tags":[],"__proto__":{"polluted":true}'],
    ['a table that is __proto__', '"tables":[', '"tables":[{"__proto__":{"name":"x"}},'],
  ].map(
    ([name = '', before = '', after = '']): Tampering => ({
      name,
      code: 'backup_damaged',
      message: /not readable|signature/,
      inArchive: true,
      tamper: (files) => files.signText((text) => text.replace(before, after)),
    }),
  ),
  ...[`customers"; drop table codes; --'`, '__proto__'].flatMap((name): Tampering[] => [
    {
      name: `a table called ${name}`,
      code: 'schema_changed',
      blocker: 'schema_changed',
      inArchive: true,
      tamper: (files) => {
        Object.assign(files.table('customers'), { name, table: name })
        files.sign()
      },
    },
    {
      name: `a column called ${name}`,
      code: 'schema_changed',
      blocker: 'schema_changed',
      tamper: (files) => {
        const [column] = files.table('customers').columns.slice(-1)
        if (column !== undefined) column.name = name
        files.forge('customers', (rows) =>
          rows.map(({ facts, ...row }) => ({ ...row, [name]: facts })),
        )
      },
    },
  ]),
  {
    name: 'a type made of SQL',
    code: 'schema_changed',
    blocker: 'schema_changed',
    tamper: (files) => {
      const [column] = files.table('customers').columns
      if (column !== undefined) column.type = 'numeric(1,1); drop table codes; --'
      files.sign()
    },
  },
  // The request.
  ...[
    { tables: ['codes"; drop table codes; --'] },
    { tables: ['__proto__'] },
    { rows: { 'codes; drop table codes': [{ code: 'code 2' }] } },
    { rows: { customers: [JSON.parse('{"__proto__": "2"}')] } },
    { rows: { customers: [{ constructor: '2' }] } },
  ].map(
    (options): Tampering => ({
      name: `a request for ${JSON.stringify(options)}`,
      code: 'invalid_request',
      options,
      tamper: () => {},
    }),
  ),
]

test.each(TAMPERINGS)('$name: $code', async ({ code, message, blocker, options, tamper }) => {
  await apply(tamper)
  const versions = await readRowVersions(trial.database)

  const restored = await attempt(options, { isDryRun: false })
  const rehearsed = blocker === undefined ? undefined : await attempt(options, { isDryRun: true })

  expect(restored.code).toBe(code)
  if (message !== undefined) expect(restored.message).toEqual(expect.stringMatching(message))
  expect(rehearsed?.blockers ?? []).toEqual(blocker === undefined ? [] : [blocker])
  expect(await readRowVersions(trial.database)).toEqual(versions)
  expect(Object.prototype).not.toHaveProperty('polluted')
})

test.each(TAMPERINGS.filter(({ inArchive }) => inArchive))(
  'in an archive: $name: $code',
  async ({ code, tamper }) => {
    await apply(tamper)
    const versions = await readRowVersions(trial.database)

    const refused = await attempt({}, { isDryRun: false, open: openInArchive })

    expect(refused.code).toBe(code)
    expect(await readRowVersions(trial.database)).toEqual(versions)
  },
)

test('a changed byte anywhere in a part is found', async () => {
  const versions = await readRowVersions(trial.database)
  const path = Files.of(stored, backup).pathOf('customers')
  const original = stored.get(path) ?? Buffer.alloc(0)
  const source = await openBackup(trial.services, backup)
  const part = source.summary.tables.flatMap(({ parts }) => parts).find((one) => one.path === path)
  if (part === undefined) throw new Error('There is no part.')
  for (const at of [...original.keys()].filter((at) => at < 24 || at % 13 === 0)) {
    const bytes = Buffer.from(original)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
    await writeFile(join(trial.store.folder, path), bytes)
    await expect(source.readPart(part), `byte ${at}`).rejects.toMatchObject({
      code: 'backup_damaged',
    })
  }
  expect((await attempt({}, { isDryRun: false })).code).toBe('backup_damaged')
  expect(await readRowVersions(trial.database)).toEqual(versions)
})

test('a changed byte anywhere in the summary is found, even where the catalog was made to fit', async () => {
  const path = backup.summaryPath ?? ''
  const original = stored.get(path) ?? Buffer.alloc(0)
  for (const at of [...original.keys()].filter((at) => at % 41 === 0)) {
    const bytes = Buffer.from(original)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 7))
    await writeFile(join(trial.store.folder, path), bytes)
    await expect(openBackup(trial.services, backup), `byte ${at}`).rejects.toMatchObject({
      code: 'backup_damaged',
    })
    const fitting = { ...backup, summarySha256: hash('sha256', bytes, 'hex') }
    await expect(openBackup(trial.services, fitting), `byte ${at}`).rejects.toMatchObject({
      code: 'backup_damaged',
    })
  }
})

test('a backup is no other tenant’s, whatever the catalog says', async () => {
  const versions = await readRowVersions(trial.database)
  const source = await openBackup(trial.services, backup)
  await expect(restoreFrom(source, {}, { tenantId: trial.neighbour })).rejects.toMatchObject({
    code: 'backup_damaged',
    message: 'This backup is of another tenant.',
  })
  const claimed = { ...backup, organizationId: trial.neighbour }
  await expect(openBackup(trial.services, claimed)).rejects.toMatchObject({
    code: 'backup_damaged',
  })
  expect(await readRowVersions(trial.database)).toEqual(versions)
})

/** What may stand in the rows of files that nobody signed; each with what a restore of them is refused with. */
const PLAIN_TAMPERINGS: [string, string, Record<string, string>][] = [
  [
    'a row with another tenant’s id',
    'row_outside_tenant',
    { codes: '[{"code": "x", "org_id": 2}]' },
  ],
  [
    'a row whose owner is another tenant’s',
    'row_outside_tenant',
    { rentals: '[{"id": 901, "customer_id": 7}]' },
  ],
  [
    'the key of another tenant’s row',
    'restore_blocked',
    { customers: '[{"id": 7, "org_id": 1, "name": "x"}]' },
  ],
  [
    'a key twice',
    'backup_damaged',
    { codes: '[{"code": "x", "org_id": 1}, {"code": "x", "org_id": 1}]' },
  ],
  ['a value that is none', 'backup_damaged', { customers: '[{"id": {"a": 1}, "org_id": 1}]' }],
  ['a table made of SQL', 'schema_changed', { 'codes"; drop table codes; --': '[{"code": "x"}]' }],
  ['a table called __proto__', 'schema_changed', { ['__proto__']: '[{"code": "x"}]' }],
  [
    'a column made of SQL',
    'schema_changed',
    { codes: `[{"code": "x", "org_id": 1, "x\\"; drop table codes; --": 1, "y'": 2}]` },
  ],
  [
    'a column called __proto__',
    'schema_changed',
    { codes: '[{"code": "x", "org_id": 1, "__proto__": {"polluted": true}}]' },
  ],
  ['a row that is none', 'archive_unreadable', { codes: '[1]' }],
]

test.each(PLAIN_TAMPERINGS)('in plain files: %s: %s', async (_, code, tables) => {
  const versions = await readRowVersions(trial.database)
  const refused = await attempt({}, { isDryRun: false, open: () => openPlain(tables) })
  expect(refused.code).toBe(code)
  expect(await readRowVersions(trial.database)).toEqual(versions)
  expect(Object.prototype).not.toHaveProperty('polluted')
})

test('names of SQL that were accepted by name do nothing, and the untouched backup is restored', async () => {
  const others = await trial.photographOthers()
  const name = 'customers"; drop table codes; --'
  await apply((files) => {
    for (const column of files.table('codes').columns) column.type = `text; drop table codes; --`
    files.table('codes').primary_key = [name]
    Object.assign(files.table('rentals'), { name, table: name })
    files.sign()
  })
  await attempt(
    {
      accept_schema_changes: [
        `dropped_table:${name}`,
        'changed_type:codes.code',
        'changed_type:codes.org_id',
      ],
    },
    { isDryRun: true },
  ).then(({ code, blockers }) => expect([code, blockers]).toEqual([null, []]))

  await writeStore(stored)
  await nameInCatalog(stored.get(backup.summaryPath ?? ''))
  const restored = await attempt({}, { isDryRun: false })

  expect(restored).toEqual({ code: null, message: '', blockers: [] })
  const { rows } = await trial.database.admin.query<{ n: string }>(
    `select count(*) as n from customers where org_id = 1 and name = 'customer ' || id || '!'`,
  )
  expect(rows[0]?.n).toBe('30')
  await others.expectEqual()
})

interface Refusal {
  /** Null where it was not refused. */
  code: string | null
  message: string
  /** Codes of what stands in the way. */
  blockers: string[]
}

async function attempt(
  options: Options = {},
  { isDryRun, open = openStored }: { isDryRun: boolean; open?: () => Promise<BackupSource> },
): Promise<Refusal> {
  try {
    const { blockers } = await restoreFrom(await open(), options, { isDryRun })
    return { code: null, message: '', blockers: blockers.map(({ code }) => code) }
  } catch (error) {
    if (!(error instanceof BackupError)) throw error
    return { code: error.code, message: error.message, blockers: [] }
  }
}

async function openStored(): Promise<BackupSource> {
  return openBackup(trial.services, await readBackup(trial.database, backup.id))
}

async function openInArchive(): Promise<BackupSource> {
  const file = join(folder, 'archive.zip')
  const found = await readBackup(trial.database, backup.id)
  await pipeline(
    (await exportBackup(trial.services, { backup: found })).stream,
    createWriteStream(file),
  )
  return openArchive({ file, signingKeys: TEST_KEYS, tenantId: trial.tenant })
}

async function openPlain(tables: Record<string, string>): Promise<BackupSource> {
  const root = await mkdtemp(join(folder, 'plain-'))
  const day = join(root, 'tenant-backups', trial.tenant, '2025-01-15')
  await mkdir(day, { recursive: true })
  for (const [name, body] of Object.entries(tables)) {
    await writeFile(join(day, `${name}-2025-01-15T02-00-00-000Z.json`), body)
  }
  const liveTables = await readProtectedTables(trial.services.tenants.catalog)
  return openPlainFiles({ folder: root, tenantId: trial.tenant, liveTables })
}

function restoreFrom(
  source: BackupSource,
  options: Options,
  { tenantId = trial.tenant, isDryRun = false } = {},
) {
  return restoreTenant(trial.services, {
    tenantId,
    source,
    isDryRun,
    options: RestoreOptions.parse(options),
    actor: SYSTEM,
  })
}

type Row = Record<string, unknown>

const linesOf = (bytes: Buffer) =>
  gunzipSync(bytes)
    .toString()
    .split('\n')
    .slice(0, -2)
    .map((line) => line.slice(1))
const rawOf = (lines: readonly string[]) => Buffer.from(`[${lines.join('\n,')}\n]\n`)
const unpack = (bytes: Buffer): Row[] => linesOf(bytes).map((line): Row => JSON.parse(line))
const pack = (rows: readonly Row[]) => gzipSync(rawOf(rows.map((row) => JSON.stringify(row))))

/** The objects of the store, and the summary of the backup that is tampered with. */
class Files {
  readonly objects: Map<string, Buffer>
  readonly content: SummaryContent
  /** Where the catalog is made to fit. */
  isInCatalog = false

  static of(objects: ReadonlyMap<string, Buffer>, of: Backup): Files {
    return new Files(new Map(objects), of)
  }

  constructor(objects: Map<string, Buffer>, of: Backup) {
    this.objects = objects
    this.content = this.#read(of)
  }

  #read(of: Backup): SummaryContent {
    const { signature: _, ...content } = JSON.parse(this.summaryOf(of).toString())
    return content
  }

  summaryOf(of: Backup): Buffer {
    return this.objects.get(of.summaryPath ?? '') ?? Buffer.alloc(0)
  }

  /** A table of the summary, with its one part. */
  table(name: string, of: Backup = backup) {
    const content = of === backup ? this.content : this.#read(of)
    const table = content.tables.find((found) => found.name === name)
    const part = table?.parts[0]
    if (table === undefined || part === undefined) throw new Error(`There is no ${name}.`)
    return Object.assign(table, { parts: [part] as [typeof part] })
  }

  pathOf(name: string, of: Backup = backup): string {
    return this.table(name, of).parts[0].path
  }

  change(name: string, edit: (bytes: Buffer) => Buffer): void {
    const path = this.pathOf(name)
    this.objects.set(path, edit(this.objects.get(path) ?? Buffer.alloc(0)))
  }

  swap(one: string, other: string): void {
    const [first, second] = [this.objects.get(one), this.objects.get(other)]
    if (first === undefined || second === undefined || one === other) throw new Error('No two.')
    this.objects.set(one, second)
    this.objects.set(other, first)
  }

  putSummary(body: Buffer): void {
    this.objects.set(backup.summaryPath ?? '', body)
    this.isInCatalog = true
  }

  /** With our own key, unless another is given; sums are made to fit. */
  sign({
    keys = TEST_KEYS,
    isSummed = true,
  }: {
    keys?: SigningKeys
    isSummed?: boolean
  } = {}): void {
    if (isSummed) {
      const { tables } = this.content
      const sumOf = (of: Parameters<typeof sum>[0]) => ({
        rows: sum(of, 'rows'),
        raw_bytes: sum(of, 'raw_bytes'),
        stored_bytes: sum(of, 'stored_bytes'),
      })
      for (const table of tables) Object.assign(table, sumOf(table.parts))
      this.content.totals = { tables: tables.length, ...sumOf(tables) }
    }
    this.#putSigned(this.content, keys)
  }

  /** The same, for what the types do not allow. */
  signText(edit: (text: string) => string): void {
    const before = JSON.stringify(this.content)
    const after = edit(before)
    if (after === before) throw new Error('Nothing was changed.')
    this.#putSigned(JSON.parse(after), TEST_KEYS, after)
  }

  #putSigned(content: object, keys: SigningKeys, text = JSON.stringify(content)): void {
    const signature = JSON.stringify(sign(content, keys))
    this.putSummary(Buffer.from(text.replace(/\}$/, `,"signature":${signature}}`)))
  }

  /** Other rows, with everything that must fit made to fit, and signed. */
  forge(name: string, edit: (rows: Row[]) => Row[]): void {
    const lines = (found: string[]) => found.map((line): Row => JSON.parse(line))
    this.forgeLines(name, (found) => edit(lines(found)).map((row) => JSON.stringify(row)))
  }

  forgeLines(name: string, edit: (lines: string[]) => string[]): void {
    const [part] = this.table(name).parts
    const lines = edit(linesOf(this.objects.get(part.path) ?? Buffer.alloc(0)))
    const raw = rawOf(lines)
    part.rows = lines.length
    part.raw_bytes = raw.length
    part.raw_sha256 = hash('sha256', raw, 'hex')
    this.forgeStored(name, gzipSync(raw))
  }

  forgeStored(name: string, bytes: Buffer): void {
    const [part] = this.table(name).parts
    part.stored_bytes = bytes.length
    part.stored_sha256 = hash('sha256', bytes, 'hex')
    this.objects.set(part.path, bytes)
    this.sign()
  }
}

async function apply(tamper: (files: Files) => void): Promise<void> {
  const files = Files.of(stored, backup)
  tamper(files)
  await writeStore(files.objects)
  if (files.isInCatalog) await nameInCatalog(files.summaryOf(backup))
}

async function nameInCatalog(summary: Buffer | undefined): Promise<void> {
  await trial.database.superuser.query(
    'update public.tenant_backups set summary_sha256 = $1 where id = $2',
    [hash('sha256', summary ?? '', 'hex'), backup.id],
  )
}

async function readStore(): Promise<Map<string, Buffer>> {
  const { folder: root } = trial.store
  const objects = new Map<string, Buffer>()
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    objects.set(path.slice(root.length + 1), await readFile(path))
  }
  return objects
}

/** Exactly these objects. */
async function writeStore(objects: ReadonlyMap<string, Buffer>): Promise<void> {
  const { folder: root } = trial.store
  for (const path of (await readStore()).keys()) if (!objects.has(path)) await rm(join(root, path))
  for (const [path, bytes] of objects) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), bytes)
  }
}
