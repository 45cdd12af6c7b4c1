import { randomUUID } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  backupStamp,
  dayPrefix,
  partPath,
  restorePlanPath,
  summaryPath,
  tenantPrefix,
} from '../../../src/core/store/object-path.ts'
import type { Store } from '../../../src/core/store/store.ts'

export interface StoreUnderTest {
  store: Store
  /** Writes an object past the store, over what is there: the disk or the bucket as others see it. */
  overwrite(path: string, body: Buffer): Promise<void>
  close(): Promise<void>
}

const TYPE = 'application/gzip'

/** What every store must do. A listing should need several pages for seven objects. */
export function describeStore(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`a store: ${name}`, () => {
    let subject: StoreUnderTest
    let store: Store

    beforeAll(async () => {
      subject = await open()
      store = subject.store
    })

    afterAll(async () => {
      await subject?.close()
    })

    test('is ready to keep backups', async () => {
      await expect(store.check()).resolves.toBeUndefined()
    })

    test('gives back exactly the bytes it was given', async () => {
      const { path } = newObject()
      const body = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 31) % 256))

      await store.put(path, body, TYPE)

      expect(await read(store, path)).toEqual(body)
      const info = await store.stat(path)
      expect(info).toMatchObject({ path, size: body.length })
      expect(Math.abs(Date.now() - (info?.writtenAt.getTime() ?? 0))).toBeLessThan(60_000)
    })

    test('keeps an object without bytes', async () => {
      const { path } = newObject()
      await store.put(path, Buffer.alloc(0), TYPE)
      expect(await store.stat(path)).toMatchObject({ size: 0 })
      expect(await read(store, path)).toHaveLength(0)
    })

    test('keeps names of every alphabet apart', async () => {
      const stamp = newStamp()
      const tenant = `Ünïcode/..%2e?#${randomUUID()}`
      const tables = [
        'Orders',
        'orders',
        'ORDERS',
        'a.b',
        'a b',
        'ä',
        'summary',
        '..',
        '%2e%2e',
        '注文',
      ]
      const paths = tables.map((table) =>
        partPath(tenant, stamp, { schema: 'public', name: table }, 1),
      )

      for (const [index, path] of paths.entries())
        await store.put(path, Buffer.from(`${index}`), TYPE)

      for (const [index, path] of paths.entries()) {
        expect((await read(store, path)).toString()).toBe(`${index}`)
      }
      expect((await store.list(tenantPrefix(tenant))).map((it) => it.path)).toEqual(paths.sort())
    })

    test('says object_missing before the first byte where there is no object', async () => {
      const { path } = newObject()
      await expect(store.get(path)).rejects.toMatchObject({ code: 'object_missing' })
      expect(await store.stat(path)).toBeNull()
    })

    test('takes the same bytes twice', async () => {
      const { path } = newObject()
      await store.put(path, Buffer.from('same'), TYPE)
      await store.put(path, Buffer.from('same'), TYPE)
      expect((await read(store, path)).toString()).toBe('same')
    })

    test.each([
      ['of equal length', 'same', 'Same'],
      ['that begin alike', 'same', 'same and more'],
      ['of which there are none', 'same', ''],
    ])(
      'refuses other bytes %s under the same path and keeps the first',
      async (_, first, second) => {
        const { path } = newObject()
        await store.put(path, Buffer.from(first), TYPE)

        const put = store.put(path, Buffer.from(second), TYPE)

        await expect(put).rejects.toMatchObject({ code: 'object_exists' })
        expect((await read(store, path)).toString()).toBe(first)
      },
    )

    test('lets only one of two writers of different bytes win', async () => {
      const { path } = newObject()
      const bodies = [Buffer.from('one'), Buffer.from('two')]
      await Promise.allSettled(bodies.map((body) => store.put(path, body, TYPE)))
      expect(['one', 'two']).toContain((await read(store, path)).toString())
    })

    test('shows the real size of an object that was cut short, and does not take it for written', async () => {
      const { path } = newObject()
      const body = Buffer.from('0123456789')
      await store.put(path, body, TYPE)
      await subject.overwrite(path, body.subarray(0, 4))

      expect(await store.stat(path)).toMatchObject({ size: 4 })
      expect((await read(store, path)).toString()).toBe('0123')
      await expect(store.put(path, body, TYPE)).rejects.toMatchObject({ code: 'object_exists' })
    })

    test('shows the real bytes of an object that was altered, and does not take it for written', async () => {
      const { path } = newObject()
      const body = Buffer.from('0123456789')
      await store.put(path, body, TYPE)
      await subject.overwrite(path, Buffer.from('0123456780'))

      expect((await read(store, path)).toString()).toBe('0123456780')
      await expect(store.put(path, body, TYPE)).rejects.toMatchObject({ code: 'object_exists' })
    })

    test('lists every object below a folder, over several pages and depths', async () => {
      const tenant = randomUUID()
      const stamps = [newStamp('2026-11-20T23:59:59.999Z'), newStamp('2026-11-21T00:00:00.000Z')]
      const paths = stamps.flatMap((stamp) => [
        summaryPath(tenant, stamp),
        restorePlanPath(tenant, stamp),
        ...['a', 'b', 'c', 'd', 'e', 'f'].map((table) =>
          partPath(tenant, stamp, { schema: 'public', name: table }, 1),
        ),
      ])
      for (const path of paths) await store.put(path, Buffer.from('12345'), TYPE)

      const all = await store.list(tenantPrefix(tenant))
      const day = await store.list(dayPrefix(tenant, newStamp('2026-11-21T12:00:00.000Z')))

      expect(all.map((it) => it.path)).toEqual(paths.sort())
      expect(all.every((it) => it.size === 5 && it.writtenAt instanceof Date)).toBe(true)
      expect(day.map((it) => it.path)).toEqual(paths.filter((it) => it.includes('/2026-11-21/')))
      expect((await store.list('tenant-backups/')).length).toBeGreaterThanOrEqual(paths.length)
    })

    test('lists nothing below a folder that is not there, nor a tenant whose id begins alike', async () => {
      const { tenant, path } = newObject()
      await store.put(path, Buffer.from('x'), TYPE)
      expect(await store.list(tenantPrefix(tenant.slice(0, -1)))).toEqual([])
    })

    test('removes what it is told to, and what is already gone counts as removed', async () => {
      const { path, tenant, stamp } = newObject()
      const kept = summaryPath(tenant, stamp)
      await store.put(path, Buffer.from('x'), TYPE)
      await store.put(kept, Buffer.from('x'), TYPE)

      await store.remove([path, partPath(tenant, stamp, { schema: 'public', name: 'gone' }, 1)])
      await store.remove([path])
      await store.remove([])

      expect((await store.list(tenantPrefix(tenant))).map((it) => it.path)).toEqual([kept])
    })

    test('stops when it is told to', async () => {
      const { path } = newObject()
      const reason = new Error('enough')
      const signal = AbortSignal.abort(reason)
      await expect(store.put(path, Buffer.from('x'), TYPE, signal)).rejects.toBe(reason)
      await expect(store.get(path, signal)).rejects.toBe(reason)
      expect(await store.stat(path)).toBeNull()
    })

    const day = 'tenant-backups/t/2026-11-21'
    test.each([
      '',
      '/',
      'summary.json',
      `${day}/../../../other/summary-20261121T020304567Z-1a2b3c4d.json`,
      `${day}/%2e%2e/summary-20261121T020304567Z-1a2b3c4d.json`,
      `${day}/%2E%2E/summary-20261121T020304567Z-1a2b3c4d.json`,
      `tenant-backups/../2026-11-21/summary-20261121T020304567Z-1a2b3c4d.json`,
      `tenant-backups/t//2026-11-21/summary-20261121T020304567Z-1a2b3c4d.json`,
      `tenant-backups//2026-11-21/summary-20261121T020304567Z-1a2b3c4d.json`,
      `/${day}/summary-20261121T020304567Z-1a2b3c4d.json`,
      `${day}/./summary-20261121T020304567Z-1a2b3c4d.json`,
      `${day}\\summary-20261121T020304567Z-1a2b3c4d.json`,
      `${day}/summary-20261121T020304567Z-1a2b3c4d.json?x`,
      `${day}/summary-20261121T020304567Z-1a2b3c4d.json#x`,
      `${day}/summary-20261121T020304567Z-1a2b3c4d.json\n`,
      `${day}/summary-20261121T020304567Z-1a2b3c4d.json\0`,
      `${day}/`,
    ])('refuses the path %j everywhere', async (path) => {
      const refused = { code: 'path_refused' }
      await expect(store.put(path, Buffer.from('x'), TYPE)).rejects.toMatchObject(refused)
      await expect(store.get(path)).rejects.toMatchObject(refused)
      await expect(store.stat(path)).rejects.toMatchObject(refused)
      await expect(store.remove([path])).rejects.toMatchObject(refused)
      if (path !== `${day}/`) await expect(store.list(path)).rejects.toMatchObject(refused)
    })

    test('removes nothing where one of the paths is refused', async () => {
      const { path } = newObject()
      await store.put(path, Buffer.from('x'), TYPE)
      await expect(store.remove([path, '../x'])).rejects.toMatchObject({ code: 'path_refused' })
      expect(await store.stat(path)).not.toBeNull()
    })
  })
}

function newStamp(at = '2026-11-21T02:03:04.567Z'): string {
  return backupStamp(new Date(at), randomUUID())
}

function newObject() {
  const tenant = randomUUID()
  const stamp = newStamp()
  return { tenant, stamp, path: partPath(tenant, stamp, { schema: 'public', name: 'orders' }, 1) }
}

async function read(store: Store, path: string): Promise<Buffer> {
  return buffer(await store.get(path))
}
