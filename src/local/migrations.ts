import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import * as z from 'zod'
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

/** Whether the database has every migration, by the history that `supabase db push` keeps. */
export async function hasAllMigrations(adminUrl: string): Promise<boolean> {
  const client = new pg.Client(adminUrl)
  await client.connect()
  try {
    const { rows } = await client.query<{ version: string }>(
      'select version from supabase_migrations.schema_migrations',
    )
    const applied = new Set(rows.map(({ version }) => version))
    return (await readMigrations()).every(({ name }) => applied.has(name.split('_')[0] ?? ''))
  } finally {
    await client.end()
  }
}

/** `supabase db push` with the CLI of this repository: applies what the database does not have yet. */
export async function pushMigrations(adminUrl: string, signal?: AbortSignal): Promise<string> {
  const url = new URL(adminUrl)
  url.searchParams.set('sslmode', 'disable')
  return runSupabase(['db', 'push', '--db-url', url.href, '--yes'], signal)
}

/** Runs the Supabase CLI and returns what it printed. Throws with its output where it fails. */
export async function runSupabase(args: readonly string[], signal?: AbortSignal): Promise<string> {
  const cli = join(REPOSITORY, 'node_modules', '.bin', 'supabase')
  try {
    const { stdout, stderr } = await promisify(execFile)(cli, args, {
      cwd: REPOSITORY,
      env: { ...process.env, DO_NOT_TRACK: '1', SUPABASE_TELEMETRY_DISABLED: '1' },
      maxBuffer: 32 * 1024 * 1024,
      ...(signal === undefined ? {} : { signal }),
    })
    return stdout + stderr
  } catch (error) {
    const { stdout, stderr } = CommandFailure.parse(error)
    // Neither the command line nor the cause: both hold the password of the URL.
    throw new Error(`supabase ${args[0]} ${args[1]} failed:\n${stdout}${stderr}`)
  }
}

const CommandFailure = z.object({ stdout: z.string().default(''), stderr: z.string().default('') })
