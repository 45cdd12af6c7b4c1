import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DirectoryStore } from '../../../src/core/store/directory-store.ts'
import { partPath, tenantPrefix } from '../../../src/core/store/object-path.ts'
import { describeStore } from './contract.ts'

describeStore('directory', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-store-'))
  const root = join(folder, 'backups of Übermorgen')
  return {
    store: new DirectoryStore(pathToFileURL(root)),
    overwrite: (path, body) => writeFile(join(root, path), body),
    close: () => rm(folder, { recursive: true }),
  }
})

describe('a directory store', () => {
  const path = partPath('t1', '20261121T020304567Z-1a2b3c4d', { schema: 'public', name: 'a' }, 1)
  const body = Buffer.from('body')
  let folder: string
  let root: string
  let store: DirectoryStore

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tenantkeep-store-'))
    root = join(folder, 'backups')
    store = new DirectoryStore(pathToFileURL(root))
  })

  afterEach(() => rm(folder, { recursive: true }))

  test('leaves nothing but the object behind, readable by its owner only', async () => {
    await store.put(path, body, 'application/gzip')
    const target = join(root, path)
    expect(await readdir(dirname(target))).toHaveLength(1)
    expect((await stat(target)).mode & 0o077).toBe(0)
    expect((await stat(root)).mode & 0o077).toBe(0)
  })

  test('does not write through a link that leads out of it', async () => {
    const outside = join(folder, 'outside')
    await mkdir(outside)
    await mkdir(join(root, 'tenant-backups'), { recursive: true })
    await symlink(outside, join(root, 'tenant-backups', 't1'))

    const put = store.put(path, body, 'application/gzip')

    await expect(put).rejects.toMatchObject({ code: 'path_refused' })
    expect(await readdir(outside)).toEqual([])
    await expect(store.get(path)).rejects.toMatchObject({ code: 'path_refused' })
    await expect(store.list(tenantPrefix('t1'))).rejects.toMatchObject({ code: 'path_refused' })
    expect(await store.list('tenant-backups/')).toEqual([])
  })

  test('neither reads nor lists a link in place of an object', async () => {
    const secret = join(folder, 'secret')
    await writeFile(secret, 'secret')
    await mkdir(dirname(join(root, path)), { recursive: true })
    await symlink(secret, join(root, path))

    await expect(store.get(path)).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(await store.stat(path)).toBeNull()
    expect(await store.list(tenantPrefix('t1'))).toEqual([])
    await expect(store.put(path, body, 'application/gzip')).rejects.toMatchObject({
      code: 'object_exists',
    })
    expect(await readFile(secret, 'utf8')).toBe('secret')
  })

  test('is not taken for empty when it is not there', async () => {
    await expect(store.list(tenantPrefix('t1'))).rejects.toMatchObject({
      code: 'store_unavailable',
    })
    await expect(store.stat(path)).rejects.toMatchObject({ code: 'store_unavailable' })
  })

  test('is made when first needed, but not its parent, which may be a disk to mount', async () => {
    await store.check()
    expect(await readdir(root)).toEqual([])
    const unmounted = new DirectoryStore(pathToFileURL(join(folder, 'disk', 'backups')))
    await expect(unmounted.check()).rejects.toThrow(/is the disk mounted/)
    await expect(unmounted.put(path, body, 'application/gzip')).rejects.toMatchObject({
      code: 'store_unavailable',
    })
  })

  test('names a file in the way', async () => {
    await writeFile(root, '')
    await expect(store.check()).rejects.toMatchObject({ code: 'store_unavailable' })
    await expect(store.list('tenant-backups/')).rejects.toThrow(/a file stands where/)
  })

  test('does not list what a crash left half written', async () => {
    await store.put(path, body, 'application/gzip')
    await writeFile(join(dirname(join(root, path)), '.1234.tmp'), 'half')
    expect(await store.list(tenantPrefix('t1'))).toHaveLength(1)
  })
})
