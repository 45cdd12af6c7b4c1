import { randomUUID } from 'node:crypto'
import { constants, type Dirent } from 'node:fs'
import {
  copyFile,
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  unlink,
} from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { BackupError } from '../errors.ts'
import { checkPath, checkPrefix } from './object-path.ts'
import type { ObjectInfo, Removal, Store } from './store.ts'

/**
 * Backups in a directory. A file appears under its name only when all of it is on the disk: it is
 * written and synced under another name, then linked, which fails where the name is taken. Symbolic
 * links below the root are never followed, so nothing outside it is read, written or removed.
 */
export class DirectoryStore implements Store {
  readonly url: string
  readonly #root: string

  /** `url` is `file:///…`; the directory itself is made when first needed, its parent must exist. */
  constructor(url: URL) {
    this.#root = fileURLToPath(url)
    this.url = url.href
  }

  async check(): Promise<void> {
    try {
      await makeDirectory(this.#root)
      const probe = join(await realpath(this.#root), temporaryName())
      await (await open(probe, 'wx', 0o600)).close()
      await unlink(probe)
    } catch (cause) {
      throw this.#unavailable(cause, 'The backup directory cannot be written')
    }
  }

  /** Whether it holds nothing at all, like the folder on which a disk was to be mounted. */
  async isEmpty(): Promise<boolean> {
    try {
      return (await readdir(this.#root)).length === 0
    } catch (cause) {
      if (isMissing(cause)) return true
      throw this.#unavailable(cause, 'The backup directory cannot be read')
    }
  }

  async put(path: string, body: Buffer, _contentType: string, signal?: AbortSignal): Promise<void> {
    checkPath(path)
    signal?.throwIfAborted()
    try {
      const folder = await this.#folder(dirname(path), { make: true })
      if (folder === null) throw new Error('a folder that was just made is gone')
      const temporary = join(folder, temporaryName())
      try {
        await writeSynced(temporary, body, signal)
        await linkExclusively(temporary, join(folder, basename(path)))
      } finally {
        await unlink(temporary).catch(ignoreMissing)
      }
      await syncDirectory(folder)
    } catch (cause) {
      signal?.throwIfAborted()
      if (!hasCode(cause, 'EEXIST')) throw this.#unavailable(cause, 'An object cannot be written')
      await this.#requireSame(path, body)
    }
  }

  async get(path: string, signal?: AbortSignal): Promise<Readable> {
    checkPath(path)
    signal?.throwIfAborted()
    const target = await this.#file(path)
    if (target === null) throw missing(path)
    let file: FileHandle
    try {
      file = await open(target, constants.O_RDONLY | constants.O_NOFOLLOW)
    } catch (cause) {
      if (isMissing(cause)) throw missing(path)
      throw this.#unavailable(cause, 'An object cannot be read')
    }
    const stream = file.createReadStream(signal === undefined ? {} : { signal })
    // Whoever asked may be gone when the signal comes; nobody's error would end the process.
    return stream.on('error', () => {})
  }

  async stat(path: string): Promise<ObjectInfo | null> {
    checkPath(path)
    const target = await this.#file(path)
    return target === null ? null : this.#describe(path, target)
  }

  async remove(paths: readonly string[]): Promise<Removal> {
    for (const path of paths) checkPath(path)
    for (const path of paths) {
      const target = await this.#file(path)
      if (target === null) continue
      try {
        await unlink(target)
      } catch (cause) {
        if (!isMissing(cause)) throw this.#unavailable(cause, 'An object cannot be removed')
      }
    }
    return { locked: [] }
  }

  async list(prefix: string): Promise<ObjectInfo[]> {
    checkPrefix(prefix)
    const folder = await this.#folder(prefix)
    const found: ObjectInfo[] = []
    if (folder !== null) await this.#walk(prefix, folder, found)
    return found.sort((a, b) => (a.path < b.path ? -1 : 1))
  }

  async #walk(prefix: string, folder: string, found: ObjectInfo[]): Promise<void> {
    let entries: Dirent[]
    try {
      entries = await readdir(folder, { withFileTypes: true })
    } catch (cause) {
      if (isMissing(cause)) return
      throw this.#unavailable(cause, 'The backup directory cannot be listed')
    }
    for (const entry of entries) {
      const inside = join(folder, entry.name)
      if (entry.isDirectory()) await this.#walk(`${prefix}${entry.name}/`, inside, found)
      else if (entry.isFile() && !entry.name.startsWith('.')) {
        const info = await this.#describe(`${prefix}${entry.name}`, inside)
        if (info !== null) found.push(info)
      }
    }
  }

  async #describe(path: string, target: string): Promise<ObjectInfo | null> {
    try {
      const stats = await lstat(target)
      return stats.isFile() ? { path, size: stats.size, writtenAt: stats.mtime } : null
    } catch (cause) {
      if (isMissing(cause)) return null
      throw this.#unavailable(cause, 'An object cannot be read')
    }
  }

  async #requireSame(path: string, body: Buffer): Promise<void> {
    const target = await this.#file(path)
    const info = target === null ? null : await this.#describe(path, target)
    const isSame =
      target !== null && info?.size === body.length && (await readFile(target)).equals(body)
    if (!isSame) throw exists(path)
  }

  /** The file of an object, which need not be there; null where its folder is not. */
  async #file(path: string): Promise<string | null> {
    const folder = await this.#folder(dirname(path))
    return folder === null ? null : join(folder, basename(path))
  }

  /** Walks down from the root, one folder at a time, refusing links; null where one is missing. */
  async #folder(path: string, options: { make?: boolean } = {}): Promise<string | null> {
    let folder: string
    try {
      if (options.make === true) await makeDirectory(this.#root)
      folder = await realpath(this.#root)
    } catch (cause) {
      // A missing root is not an empty store: the disk may not be mounted.
      throw this.#unavailable(cause, 'The backup directory cannot be opened')
    }
    for (const segment of path.split('/').filter((part) => part !== '')) {
      folder = join(folder, segment)
      try {
        if (options.make === true) await makeDirectory(folder)
        if ((await lstat(folder)).isSymbolicLink()) throw linked()
      } catch (cause) {
        if (isMissing(cause) && options.make !== true) return null
        throw this.#unavailable(cause, 'The backup directory cannot be opened')
      }
    }
    return folder
  }

  #unavailable(cause: unknown, what: string): BackupError {
    if (cause instanceof BackupError) return cause
    const reason = REASONS[errorCode(cause)] ?? `the system answered ${errorCode(cause)}`
    return new BackupError('store_unavailable', `${what} (${this.url}): ${reason}.`, { cause })
  }
}

const REASONS: Record<string, string> = {
  EACCES: 'this user may not; give it the right to read and write there',
  EPERM: 'this user may not; give it the right to read and write there',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full; make room and try again',
  EDQUOT: 'the disk quota is used up; make room and try again',
  ENOENT: 'its parent folder does not exist; is the disk mounted?',
  ENOTDIR: 'a file stands where a folder is needed',
  EMFILE: 'too many files are open',
  EIO: 'the disk reports an input/output error',
}

/** Makes the directory but not its parents: a disk that is not mounted must not go unnoticed. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
  }
}

async function writeSynced(path: string, body: Buffer, signal?: AbortSignal): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(body, signal === undefined ? {} : { signal })
    await file.sync()
  } finally {
    await file.close()
  }
}

async function linkExclusively(temporary: string, target: string): Promise<void> {
  try {
    await link(temporary, target)
  } catch (error) {
    // exFAT and some network disks have no links. The copy is exclusive too, only not in one step;
    // what a crash leaves there belongs to no complete backup.
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(errorCode(error))) throw error
    await copyFile(temporary, target, constants.COPYFILE_EXCL)
    const file = await open(target, 'r+')
    await file.sync().finally(() => file.close())
  }
}

/** Without this a crash of the machine may forget the name of a file that is safely on the disk. */
async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const folder = await open(path, constants.O_RDONLY)
  await folder.sync().finally(() => folder.close())
}

function temporaryName(): string {
  return `.${randomUUID()}.tmp`
}

function linked(): BackupError {
  return new BackupError(
    'path_refused',
    'A folder in the backup directory is a symbolic link. Put the folder itself in its place.',
  )
}

function missing(path: string): BackupError {
  return new BackupError('object_missing', `The object ${path} is not in the store.`, {
    details: { path },
  })
}

function exists(path: string): BackupError {
  return new BackupError(
    'object_exists',
    `The object ${path} exists with other bytes; nothing was overwritten.`,
    { details: { path } },
  )
}

function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error
}

function isMissing(error: unknown): boolean {
  return hasCode(error, 'ENOENT')
}

function hasCode(error: unknown, code: string): boolean {
  return errorCode(error) === code
}

function errorCode(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : 'an unknown error'
}
