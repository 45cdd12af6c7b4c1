import { createHash } from 'node:crypto'
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, resolve, sep } from 'node:path'
import type { App } from '@supabase/lite'

type StorageAdapter = NonNullable<App['_storageAdapter']>
type ObjectMetadata = Awaited<ReturnType<StorageAdapter['headObject']>>

/** Keeps the bytes of the local Storage as plain files: `folder/bucket/key`. */
export function createFileStorage(folder: string): StorageAdapter {
  const root = resolve(folder)

  const fileOf = (bucket: string, key: string): string => {
    const path = resolve(root, bucket, key)
    if (!path.startsWith(resolve(root, bucket) + sep))
      throw new Error('This key leaves its bucket.')
    return path
  }
  const describe = async (bucket: string, key: string): Promise<ObjectMetadata> => {
    const file = await stat(fileOf(bucket, key))
    return {
      cacheControl: 'no-cache',
      contentLength: file.size,
      size: file.size,
      mimetype: mimetypeOf(key),
      lastModified: file.mtime,
      eTag: `"${file.size}-${file.mtimeMs}"`,
    }
  }

  return {
    driver: null,
    async getObject(bucket, key) {
      const body = await readFile(fileOf(bucket, key))
      return { httpStatusCode: 200, metadata: await describe(bucket, key), body }
    },
    async uploadObject(bucket, key, _version, body, contentType, cacheControl) {
      const bytes = body instanceof Uint8Array ? body : await collect(body)
      const path = fileOf(bucket, key)
      await mkdir(dirname(path), { recursive: true })
      await writeFile(path, bytes)
      return {
        ...(await describe(bucket, key)),
        mimetype: contentType,
        cacheControl,
        eTag: `"${createHash('md5').update(bytes).digest('hex')}"`,
      }
    },
    async deleteObject(bucket, key) {
      await rm(fileOf(bucket, key), { force: true })
    },
    async deleteObjects(bucket, keys) {
      await Promise.all(keys.map((key) => rm(fileOf(bucket, key), { force: true })))
    },
    async copyObject(bucket, key, _version, toBucket, toKey) {
      const path = fileOf(toBucket, toKey)
      await mkdir(dirname(path), { recursive: true })
      await writeFile(path, await readFile(fileOf(bucket, key)))
      const { eTag, lastModified } = await describe(toBucket, toKey)
      return { httpStatusCode: 200, eTag, ...(lastModified === undefined ? {} : { lastModified }) }
    },
    headObject: (bucket, key) => describe(bucket, key),
    async privateAssetUrl(bucket, key) {
      return `local:///${fileOf(bucket, key)}`
    },
  }
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function mimetypeOf(key: string): string {
  if (key.endsWith('.json')) return 'application/json'
  if (key.endsWith('.gz')) return 'application/gzip'
  return 'application/octet-stream'
}
