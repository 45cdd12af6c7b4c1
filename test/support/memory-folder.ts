import { accessSync, constants, statfsSync } from 'node:fs'

const FOLDER = '/dev/shm'
const LEAST_FREE_BYTES = 6 * 1024 ** 3

/**
 * The folder that Linux keeps in memory, where there is one with room for the databases of a test run; else
 * undefined. Tests make and drop databases of hundreds of files all the time, and ext4 passes over every inode
 * that was deleted within the last seconds when it looks for a free one (`recently_deleted` in the kernel's
 * fs/ext4/ialloc.c): on a disk that took a fifth of the whole run.
 */
export function findMemoryFolder(): string | undefined {
  try {
    accessSync(FOLDER, constants.W_OK | constants.X_OK)
    const { bavail, bsize } = statfsSync(FOLDER)
    return bavail * bsize > LEAST_FREE_BYTES ? FOLDER : undefined
  } catch {
    return undefined
  }
}
