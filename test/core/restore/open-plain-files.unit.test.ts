import { appendFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { BackupError } from '../../../src/core/errors.ts'
import type { BackupSource } from '../../../src/core/restore/backup-source.ts'
import {
  type OpenPlainFilesInput,
  openPlainFiles,
} from '../../../src/core/restore/open-plain-files.ts'
import type { ProtectedTable } from '../../../src/core/tables/protected-table.ts'

const TENANT = 'a0000000-0000-4000-8000-000000000001'
const OTHER = 'a0000000-0000-4000-8000-000000000002'
const STAMP = '2025-01-15T02-00-03-456Z'

const folders: string[] = []
let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-plain-'))
  folders.push(folder)
})

afterAll(async () => {
  for (const made of folders) await rm(made, { recursive: true, force: true })
})

test('reads a set of files as tables with columns, rows and proven parts', async () => {
  await writeRun({
    customers: [
      { id: '1', name: 'Äther', tags: ['a', 'b'], contact: { phone: null } },
      { id: '2', name: 'two\nlines', late: 1 },
    ],
    bottles: [],
  })

  const source = await open()

  expect(source).toMatchObject({
    kind: 'unsigned',
    backupId: null,
    isPlainJson: true,
    takenAt: '2025-01-15T02:00:03.456000Z',
  })
  expect(source.summary.organization_id).toBe(TENANT)
  expect(source.summary.tables.map(({ name, rows }) => [name, rows])).toEqual([
    ['bottles', 0],
    ['customers', 2],
  ])
  expect(await readTable(source, 'bottles')).toBe('[\n]\n')
  expect(await readTable(source, 'customers')).toBe(
    '[{"id":"1","name":"Äther","tags":["a","b"],"contact":{"phone":null}}\n' +
      ',{"id":"2","name":"two\\nlines","late":1}\n]\n',
  )
  expect(columnsOf(source, 'customers')).toEqual(['id', 'name', 'tags', 'contact', 'late'])
})

test('says what could not be checked', async () => {
  await writeRun({ customers: [{ id: 1 }] })

  const { warnings } = await open()

  expect(codes(warnings)).toEqual(['unsigned', 'not_one_instant', 'values_rounded'])
})

test('finds the files in the folder of the day, of the tenant, and above', async () => {
  await writeRun({ customers: [{ id: 1 }] })
  for (const below of ['', 'tenant-backups', `tenant-backups/${TENANT}`, dayFolder()]) {
    const source = await open({ folder: join(folder, below) })
    expect(source.summary.totals.rows).toBe(1)
  }
})

test('keeps the digits of numbers and reads pretty-printed files', async () => {
  await writeRun({}, { stamp: STAMP })
  await writeFile(
    fileOf('customers'),
    '[\n  {\n    "id": 9007199254740993,\n    "price": 1.10\n  }\n]\n',
  )

  expect(await readTable(await open(), 'customers')).toBe(
    '[{"id":9007199254740993,"price":1.10}\n]\n',
  )
})

test('reads files whose rows stand in the member data', async () => {
  await writeRun({})
  await writeFile(
    fileOf('customers'),
    JSON.stringify({ table: 'customers', record_count: 1, data: [{ id: 7 }] }),
  )
  expect(await readTable(await open(), 'customers')).toBe('[{"id":7}\n]\n')
})

test('takes names, keys and computed columns from the tables of now', async () => {
  await writeRun({ customers: [{ total: 3, name: 'x', id: 1, gone: 2 }], accounts: [{ id: 1 }] })
  const liveTables = [
    table('public', 'customers', ['id', 'name', 'total'], { generated: 'total' }),
    table('shop', 'accounts', ['id']),
  ]

  const source = await open({ liveTables })

  expect(columnsOf(source, 'customers')).toEqual(['id', 'name', 'gone'])
  expect(source.summary.tables.find(({ name }) => name === 'customers')?.primary_key).toEqual([
    'id',
  ])
  expect(source.summary.tables.find(({ name }) => name === 'shop.accounts')).toMatchObject({
    schema: 'shop',
    table: 'accounts',
  })
})

test('cuts large tables into parts that are read one by one', async () => {
  const rows = Array.from({ length: 40 }, (_, id) => ({ id, text: 'x'.repeat(500_000) }))
  await writeRun({ customers: rows })

  const source = await open()

  const parts = source.summary.tables[0]?.parts ?? []
  expect(parts).toHaveLength(3)
  expect(parts.reduce((total, part) => total + part.rows, 0)).toBe(40)
  for (const part of parts) {
    expect(part.raw_bytes).toBeLessThanOrEqual(8 * 1024 * 1024)
    const raw = await source.readPart(part)
    expect(raw.length).toBe(part.raw_bytes)
    expect(JSON.parse(raw.toString())).toHaveLength(part.rows)
  }
})

test('never mixes two runs of one day: the newest complete one is read', async () => {
  await writeRun(
    { customers: [{ id: 1 }], bottles: [{ id: 1 }] },
    { stamp: '2025-01-15T02-00-00-000Z' },
  )
  await writeRun({ customers: [{ id: 2 }] }, { stamp: '2025-01-15T14-00-00-000Z' })

  const source = await open()

  expect(source.summary.tables.map(({ name }) => name)).toEqual(['customers'])
  expect(await readTable(source, 'customers')).toContain('"id":2')
  expect(codes(source.warnings)).toContain('chosen_newest')
})

test('passes over a newer run that is incomplete, and says so', async () => {
  await writeRun({ customers: [{ id: 1 }] }, { stamp: '1736906400000' })
  await writeRun({ customers: [{ id: 2 }], bottles: [] }, { stamp: '1736949600000' })
  await rm(fileOf('bottles', '1736949600000'))

  const source = await open()

  expect(source.takenAt).toBe('2025-01-15T02:00:00.000000Z')
  expect(source.warnings.find(({ code }) => code === 'newer_incomplete')?.message).toMatch(
    /Newer, but incomplete: .*bottles/,
  )
})

test('reads a run without a summary only where there is no other, and says what that means', async () => {
  await writeRun({ customers: [{ id: 1 }] }, { stamp: '2025-01-15T02-00-00-000Z', summary: null })
  expect(codes((await open()).warnings)).toContain('no_summary')

  await writeRun({ customers: [{ id: 2 }] }, { stamp: '2025-01-15T01-00-00-000Z' })
  expect((await open()).takenAt).toBe('2025-01-15T01:00:00.000000Z')
})

test('reads the day that was asked for', async () => {
  await writeRun(
    { customers: [{ id: 1 }] },
    { date: '2025-01-14', stamp: '2025-01-14T02-00-00-000Z' },
  )
  await writeRun({ customers: [{ id: 2 }] })

  expect((await open({ date: '2025-01-14' })).takenAt).toBe('2025-01-14T02:00:00.000000Z')
  expect((await refusal({ date: '2025-01-13' })).message).toMatch(/none of 2025-01-13/)
})

test('warns of a table with exactly as many rows as Supabase answers at once', async () => {
  await writeRun({ customers: Array.from({ length: 1_000 }, (_, id) => ({ id })) })

  const { warnings } = await open()

  expect(warnings.find(({ code }) => code === 'probably_cut')?.message).toMatch(
    /^customers has exactly 1000 rows/,
  )
})

test('names tables that failed when the backup was taken, and those without a count', async () => {
  await writeRun(
    { customers: [{ id: 1 }] },
    {
      summary: {
        organization_id: TENANT,
        tables: { customers: {}, rentals: { success: false, error: 'permission denied' } },
      },
    },
  )

  const { warnings } = await open()

  expect(warnings.find(({ code }) => code === 'table_failed')?.message).toMatch(/rentals/)
  expect(codes(warnings)).toContain('rows_not_checked')
})

test('refuses fewer or more rows than the summary says', async () => {
  await writeRun(
    { customers: [{ id: 1 }] },
    { summary: { tables: { customers: { record_count: 2 } } } },
  )
  expect((await refusal()).message).toBe('customers has 1 rows where the summary says 2.')
})

test('refuses the files of another tenant, in its folder or under a false name', async () => {
  await writeRun({ customers: [{ id: 1 }] }, { tenant: OTHER })
  expect((await refusal()).message).toMatch(/none of this tenant/)

  await writeRun({ customers: [{ id: 1 }] }, { summary: { organization_id: OTHER, tables: {} } })
  expect((await refusal()).message).toMatch(/of another tenant than its folder/)
})

test('refuses a set of which a named file is missing', async () => {
  await writeRun({ customers: [{ id: 1 }], bottles: [] })
  await rm(fileOf('bottles'))
  expect((await refusal()).message).toMatch(/are not there: bottles/)
})

test.each([
  ['a file cut short', '[{"id":1},{"id":', /customers-.*ends too early/],
  ['a file of something else', '<html></html>', /is not JSON \(byte 0\)/],
  ['a single object', '{"id":1}', /is not an array of rows/],
])('refuses %s', async (_, body, message) => {
  await writeRun({})
  await writeFile(fileOf('customers'), body)
  expect((await refusal()).message).toMatch(message)
})

test('refuses an empty folder and one that is not there', async () => {
  expect((await refusal()).message).toMatch(/holds no backup/)
  expect((await refusal({ folder: join(folder, 'nowhere') })).message).toMatch(/cannot be opened/)
})

test('does not follow links out of the folder', async () => {
  const elsewhere = await mkdtemp(join(tmpdir(), 'tenantkeep-plain-'))
  folders.push(elsewhere)
  await writeRun({ customers: [{ id: 1 }] })
  await symlink(join(folder, 'tenant-backups'), join(elsewhere, 'tenant-backups'))
  expect((await refusal({ folder: elsewhere })).message).toMatch(/holds no backup/)
})

test('refuses a part whose file changed after it was checked', async () => {
  await writeRun({ customers: [{ id: 1 }, { id: 2 }] })
  const source = await open()
  const [part] = source.summary.tables[0]?.parts ?? []
  if (part === undefined) throw new Error('There is no part.')

  await appendFile(fileOf('customers'), ' ')
  await source.readPart(part)
  await writeFile(fileOf('customers'), '[{"id":1},{"id":3}]')
  await expect(source.readPart(part)).rejects.toThrow(/was changed after it was checked/)
  await writeFile(fileOf('customers'), '[{"id":1}]')
  await expect(source.readPart(part)).rejects.toThrow(/was changed after it was checked/)
})

test('takes no harm from names and rows made to do it', async () => {
  await writeRun({ 'x"; drop table y; --': [{ id: 1 }] }, { summary: null })
  await writeFile(fileOf('__proto__'), '[{"__proto__":{"polluted":true},"id":1,"id":2}]')

  const source = await open()

  expect(columnsOf(source, '__proto__')).toEqual(['__proto__', 'id'])
  expect(await readTable(source, '__proto__')).toBe(
    '[{"__proto__":{"polluted":true},"id":1,"id":2}\n]\n',
  )
  expect(Object.prototype).not.toHaveProperty('polluted')
})

interface RunOptions {
  tenant?: string
  date?: string
  stamp?: string
  /** Null writes none; without it one that fits. */
  summary?: object | null
}

async function writeRun(tables: Record<string, object[]>, options: RunOptions = {}): Promise<void> {
  const { tenant = TENANT, date = '2025-01-15', stamp = STAMP, summary } = options
  const day = join(folder, dayFolder(tenant, date))
  await mkdir(day, { recursive: true })
  for (const [name, rows] of Object.entries(tables)) {
    await writeFile(join(day, `${name}-${stamp}.json`), JSON.stringify(rows))
  }
  if (summary === null) return
  const fitting = {
    organization_id: tenant,
    organization_name: 'Prairie Welding & Gas',
    backup_date: date,
    tables: Object.fromEntries(
      Object.entries(tables).map(([name, rows]) => [
        name,
        { success: true, record_count: rows.length },
      ]),
    ),
  }
  await writeFile(join(day, `summary-${stamp}.json`), JSON.stringify(summary ?? fitting))
}

function dayFolder(tenant = TENANT, date = '2025-01-15'): string {
  return join('tenant-backups', tenant, date)
}

function fileOf(name: string, stamp = STAMP): string {
  return join(folder, dayFolder(), `${name}-${stamp}.json`)
}

function open(input: Partial<OpenPlainFilesInput> = {}): Promise<BackupSource> {
  return openPlainFiles({ folder, tenantId: TENANT, ...input })
}

async function refusal(input: Partial<OpenPlainFilesInput> = {}): Promise<BackupError> {
  const error = await open(input).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof BackupError)) throw new Error('It was not refused.', { cause: error })
  expect(error.code).toBe('archive_unreadable')
  return error
}

async function readTable(source: BackupSource, name: string): Promise<string> {
  const parts = source.summary.tables.find((it) => it.name === name)?.parts ?? []
  const raw = await Promise.all(parts.map((part) => source.readPart(part)))
  return Buffer.concat(raw).toString()
}

function columnsOf(source: BackupSource, name: string): string[] {
  const found = source.summary.tables.find((it) => it.name === name)
  return found?.columns.map((column) => column.name) ?? []
}

function codes(warnings: readonly { code: string }[]): string[] {
  return warnings.map(({ code }) => code)
}

function table(
  schema: string,
  name: string,
  columns: string[],
  { generated }: { generated?: string } = {},
): ProtectedTable {
  return {
    schema,
    name,
    label: schema === 'public' ? name : `${schema}.${name}`,
    relation: `"${schema}"."${name}"`,
    from: `from only "${schema}"."${name}"`,
    class: 'direct',
    position: 1,
    rowExpression: 'true',
    isWritable: true,
    isHistory: false,
    keepLive: [],
    masked: [],
    labelColumns: [],
    columns: columns.map((column) => ({
      name: column,
      type: 'text',
      encoding: 'scalar',
      isNullable: true,
      isGenerated: column === generated,
      isIdentity: false,
      isIdentityAlways: false,
      hasDefault: false,
      isDomain: false,
    })),
    primaryKey: [{ name: 'id', isText: false }],
  }
}
