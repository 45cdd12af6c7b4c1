import { hash } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BackupError } from '../../../src/core/errors.ts'
import { loadPlan, type PlanHeader, storePlan } from '../../../src/core/restore/plan-document.ts'
import { backupStamp, restorePlanPath } from '../../../src/core/store/object-path.ts'
import {
  createTestStore,
  otherKeys,
  TEST_KEYS,
  type TestStore,
} from '../../support/backup-services.ts'
import { FaultyStore } from '../../support/faulty-store.ts'

const HEADER: PlanHeader = {
  restore_id: '11111111-0000-4000-8000-000000000000',
  organization_id: 'alpha',
  backup_id: '22222222-0000-4000-8000-000000000000',
  safety_backup_id: '33333333-0000-4000-8000-000000000000',
  plan_hash: 'abc',
  options: { tables: null, missing: 'restore' },
  tables: [
    {
      name: 'shop.accounts',
      primary_key: ['id'],
      columns: ['id', 'label'],
      inserted: 2,
      updated: 0,
      deleted: 1,
    },
  ],
}
const LINES = ['{"a":1}\n', '{"a":"zwölf"}\n', '{"a":[3,{}]}\n']

let store: TestStore
beforeAll(async () => {
  store = await createTestStore()
})
afterAll(() => store?.remove())

const newPath = () =>
  restorePlanPath('alpha', backupStamp(new Date('2026-11-21T02:03:04Z'), crypto.randomUUID()))
const services = () => ({ store: store.store, signingKeys: TEST_KEYS })

async function* inChunks(text: string, size: number): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

function store1(lines: string, { path = newPath(), size = 5, keys = TEST_KEYS } = {}) {
  return storePlan(
    { store: store.store, signingKeys: keys },
    { path, header: HEADER, lines: inChunks(lines, size) },
  )
}

const expected = { tenantId: 'alpha', restoreId: HEADER.restore_id }

function load(stored: { path: string; sha256: string }, keys = TEST_KEYS) {
  return loadPlan({ store: store.store, signingKeys: keys }, { ...stored, ...expected })
}

/** A plan whose stored bytes somebody made, and that the journal was made to name. */
async function plant(stored: Buffer) {
  const path = newPath()
  await store.store.put(path, stored, 'application/gzip')
  return { path, sha256: hash('sha256', stored, 'hex') }
}

async function readStored(path: string): Promise<Buffer> {
  return buffer(await store.store.get(path))
}

describe('a stored plan', () => {
  test.each([1, 2, 3, 7, 1_000])('gives back every line, cut into chunks of %i', async (size) => {
    const plan = await store1(LINES.join(''), { size })

    const loaded = await load(plan)

    expect(loaded.header).toEqual(HEADER)
    expect(loaded.lineCount).toBe(3)
    const lines = await buffer(loaded.lines())
    expect(lines.toString()).toBe(LINES.join('').replaceAll(/^(?=.)/gm, ' '))
    expect(await buffer(loaded.lines())).toEqual(lines)
  })

  test('may have no line', async () => {
    const loaded = await load(await store1(''))
    expect(loaded.lineCount).toBe(0)
    expect((await buffer(loaded.lines())).length).toBe(0)
  })

  test('is one JSON array whose last element is signed', async () => {
    const { path } = await store1(LINES.join(''))
    const raw = gunzipSync(await readStored(path)).toString()
    expect(raw.startsWith('[{"a":1}\n,{"a":"zwölf"}\n,{"a":[3,{}]}\n,{"format_version":1,')).toBe(
      true,
    )
    expect(raw.endsWith('}\n]\n')).toBe(true)
    expect(JSON.parse(raw)).toEqual([
      { a: 1 },
      { a: 'zwölf' },
      { a: [3, {}] },
      {
        format_version: 1,
        ...HEADER,
        made_at: expect.any(String),
        lines: 3,
        lines_sha256: hash('sha256', raw.slice(0, raw.indexOf(',{"format')), 'hex'),
        signature: { algorithm: 'HMAC-SHA256', key_id: 'test', value: expect.any(String) },
      },
    ])
  })

  test('holds a large row and many small ones, with little memory', async () => {
    const large = `{"a":"${'x'.repeat(20 * 1024 * 1024)}"}\n`
    async function* many() {
      for (let i = 0; i < 300; i += 1) yield Buffer.from(`{"b":${i}}\n`.repeat(10_000))
      yield Buffer.from(large)
    }
    const plan = await storePlan(services(), { path: newPath(), header: HEADER, lines: many() })
    const before = process.memoryUsage().rss

    const loaded = await load(plan)
    let bytes = 0
    let isWhole = true
    for await (const chunk of loaded.lines()) {
      bytes += chunk.length
      isWhole &&= chunk.at(-1) === 0x0a
    }

    expect(loaded.lineCount).toBe(3_000_001)
    expect(isWhole).toBe(true)
    expect(bytes).toBeGreaterThan(50 * 1024 * 1024)
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024)
  })

  test.each([
    ['a comma of its own', ',{"a":1}\n'],
    ['a line that is no object', '{"a":1}\n[2]\n'],
    ['half a line', '{"a":1}\n{"a"'],
    ['an empty line', '{"a":1}\n\n'],
  ])('takes no lines with %s', async (_, lines) => {
    for (const size of [1, 4, 1_000]) {
      await expect(store1(lines, { size })).rejects.toMatchObject({ code: 'internal' })
    }
  })

  test('stores nothing where the rows end in an error', async () => {
    const path = newPath()
    async function* broken() {
      yield Buffer.from(LINES[0] ?? '')
      throw new BackupError('rows_hidden', 'On purpose.')
    }
    const stored = storePlan(services(), { path, header: HEADER, lines: broken() })
    await expect(stored).rejects.toMatchObject({ code: 'rows_hidden' })
    expect(await store.store.stat(path)).toBeNull()
  })

  test('stops when it is told to', async () => {
    const stop = new AbortController()
    async function* slow() {
      yield Buffer.from(LINES[0] ?? '')
      stop.abort()
      yield Buffer.from(LINES[1] ?? '')
    }
    const path = newPath()
    const given = { path, header: HEADER, lines: slow(), signal: stop.signal }
    await expect(storePlan(services(), given)).rejects.toMatchObject({ code: 'backup_cancelled' })
    expect(await store.store.stat(path)).toBeNull()
  })

  test.each(['error', 'cut'] as const)('is not there where the store fails (%s)', async (how) => {
    for (const call of [1, 2]) {
      const faulty = new FaultyStore(store.store, { call, how })
      const stored = storePlan(
        { store: faulty, signingKeys: TEST_KEYS },
        { path: newPath(), header: HEADER, lines: inChunks(LINES.join(''), 9) },
      )
      await expect(stored).rejects.toThrow(BackupError)
      expect(faulty.struck).toBe(true)
    }
  })
})

describe('a plan is refused', () => {
  const damaged = (message: RegExp) =>
    expect.objectContaining({ code: 'backup_damaged', message: expect.stringMatching(message) })

  test('when its bytes are not those that the journal names', async () => {
    const { path } = await store1(LINES.join(''))
    const loaded = load({ path, sha256: '0'.repeat(64) })
    await expect(loaded).rejects.toEqual(damaged(/not the one that the journal names/))
  })

  test('when it is not there', async () => {
    const loaded = load({ path: newPath(), sha256: '0'.repeat(64) })
    await expect(loaded).rejects.toMatchObject({ code: 'object_missing' })
  })

  test('when it is signed with a key of others', async () => {
    const unknown = await store1(LINES.join(''), { keys: otherKeys() })
    await expect(load(unknown)).rejects.toEqual(damaged(/plan is signed with the key «other»/))
    const sameId = await store1(LINES.join(''), { keys: otherKeys('test') })
    await expect(load(sameId)).rejects.toEqual(damaged(/signature of the plan does not match/))
  })

  test.each<[string, (raw: string) => string, RegExp]>([
    ['a row is changed', (raw) => raw.replace('"a":1', '"a":2'), /does not hold the lines/],
    ['a row is missing', (raw) => raw.replace(',{"a":"zwölf"}\n', ''), /does not hold the lines/],
    ['a row is added', (raw) => raw.replace('\n', '\n,{"a":9}\n'), /does not hold the lines/],
    ['its end is changed', (raw) => raw.replace('"inserted":2', '"inserted":3'), /signature/],
    ['its end is of another tenant', (raw) => raw.replace('"alpha"', '"bravo"'), /signature/],
    ['it has no end', (raw) => raw.replace(/,\{"format_version.*\n/, ''), /no readable end/],
    ['its end is cut', (raw) => raw.slice(0, -10), /does not end as a plan does/],
    ['something follows', (raw) => `${raw},{"a":9}\n`, /does not end as a plan does/],
    ['something follows the bracket', (raw) => raw.replace(/\]\n$/, '] \n'), /does not end/],
    ['it is of a later version', (raw) => raw.replace('_version":1', '_version":2'), /version 2/],
    ['it is empty', () => '', /does not end as a plan does/],
    ['it is an empty array', () => '[\n]\n', /does not end as a plan does|no readable end/],
  ])('when %s', async (_, change, message) => {
    const { path } = await store1(LINES.join(''))
    const raw = gunzipSync(await readStored(path)).toString()
    const changed = change(raw)
    expect(changed).not.toBe(raw)

    const loaded = load(await plant(gzipSync(changed)))

    await expect(loaded).rejects.toEqual(damaged(message))
  })

  test.each<[string, (stored: Buffer) => Buffer, RegExp]>([
    ['has a second gzip member', (b) => Buffer.concat([b, gzipSync('x')]), /more than one gzip/],
    [
      'has bytes after its member',
      (b) => Buffer.concat([b, Buffer.alloc(9)]),
      /more than one gzip/,
    ],
    ['is cut', (b) => b.subarray(0, -20), /can't be unpacked|more than one/],
    ['has another checksum', (b) => withByte(b, -8), /does not unpack to the bytes/],
    ['has another size', (b) => withByte(b, -1), /does not unpack to the bytes/],
    ['is no gzip', () => Buffer.from('[{"a":1}\n]\n'), /not a gzip file/],
    ['has nothing in it', () => Buffer.alloc(0), /not a gzip file/],
  ])('when the stored file %s', async (_, change, message) => {
    const { path } = await store1(LINES.join(''))
    const loaded = load(await plant(change(await readStored(path))))
    await expect(loaded).rejects.toEqual(damaged(message))
  })

  test('when it is of another tenant or restore', async () => {
    const plan = await store1(LINES.join(''))
    const restoreId = '99999999-0000-4000-8000-000000000000'
    await expect(loadPlan(services(), { ...plan, ...expected, restoreId })).rejects.toEqual(
      damaged(/another restore/),
    )
    await expect(loadPlan(services(), { ...plan, ...expected, tenantId: 'bravo' })).rejects.toEqual(
      damaged(/another tenant/),
    )
    const planted = restorePlanPath('bravo', backupStamp(new Date(), crypto.randomUUID()))
    await store.store.put(planted, await readStored(plan.path), 'application/gzip')
    const copied = { path: planted, sha256: plan.sha256, restoreId: HEADER.restore_id }
    await expect(loadPlan(services(), { ...copied, tenantId: 'bravo' })).rejects.toEqual(
      damaged(/another restore or tenant/),
    )
  })
})

function withByte(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes)
  const index = changed.length + at
  changed[index] = (changed[index] ?? 0) ^ 0xff
  return changed
}
