import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { runScript } from './hosted-shape.ts'

export const REPOSITORY = join(import.meta.dirname, '..', '..')
const FOLDER = join(REPOSITORY, 'supabase', 'migrations')

export interface Migration {
  name: string
  sql: string
}

/** The product's migrations in their order. */
export async function readMigrations(): Promise<Migration[]> {
  const names = (await readdir(FOLDER)).filter((name) => name.endsWith('.sql')).sort()
  return Promise.all(
    names.map(async (name) => ({ name, sql: await readFile(join(FOLDER, name), 'utf8') })),
  )
}

/** Changes whenever a migration does. */
export function hashMigrations(migrations: readonly Migration[]): string {
  const hash = createHash('sha256')
  for (const { name, sql } of migrations) hash.update(`${name}\0${sql}\0`)
  return hash.digest('hex')
}

/**
 * Applies the files directly, as `postgres`: what tests do, for speed. That `supabase db push` gives
 * the same is a test of its own.
 */
export async function applyMigrations(adminUrl: string): Promise<void> {
  for (const { name, sql } of await readMigrations()) {
    await runScript(adminUrl, sql).catch((cause: unknown) => {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new Error(`The migration ${name} failed: ${reason}`, { cause })
    })
  }
}
