import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { EXIT, exitStatusOf } from '../../src/cli/exit-status.ts'
import { runCommandLine } from '../../src/cli/run-command-line.ts'
import { ERRORS, type ErrorCode } from '../../src/core/errors.ts'
import { runCli } from '../support/run-cli.ts'

const COMMANDS = ['init', 'backup', 'list', 'show', 'verify', 'restore', 'undo', 'worker']
const ID = '3f0e8f5e-5a0c-4d0c-8e52-0b8a7a1c9b11'
const SETTINGS = {
  SUPABASE_DB_URL: 'postgres://someone:hunter2@127.0.0.1:1/none',
  BACKUP_STORE: 'file:///tmp/tenantkeep-none/store',
  BACKUP_SIGNING_KEY: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
}

/** In this process, for speed; the last tests here start one of its own. */
async function run(args: readonly string[], env: Record<string, string> = {}) {
  const told = { stdout: '', stderr: '' }
  const status = await runCommandLine(args, {
    env,
    stdout: {
      write(text) {
        told.stdout += text
      },
    },
    stderr: {
      write(text) {
        told.stderr += text
      },
    },
    signal: new AbortController().signal,
  })
  return { status, ...told }
}

test.each([...COMMANDS.map((command) => [command, '--help']), ['--help']])(
  'help names every exit status: %s %s',
  async (...args) => {
    const { status, stdout, stderr } = await run(args)
    expect(status).toBe(0)
    expect(stderr).toBe('')
    for (const each of Object.values(EXIT)) {
      expect(stdout).toMatch(new RegExp(`^  ${each}  \\S`, 'm'))
    }
  },
)

const BAD_CALLS: [string, string[], Record<string, string>, string][] = [
  ['an unknown command', ['frobnicate'], {}, 'invalid_request'],
  ['an unknown flag', ['list', '--frobnicate'], {}, 'invalid_request'],
  ['a missing argument', ['show'], {}, 'invalid_request'],
  ['an id that is none', ['show', 'x'], SETTINGS, 'invalid_request'],
  ['an id that is none among others', ['verify', ID, '../x'], SETTINGS, 'invalid_request'],
  ['verify without a backup', ['verify'], SETTINGS, 'invalid_request'],
  ['verify with too much', ['verify', ID, '--all'], SETTINGS, 'invalid_request'],
  ['backup without a tenant', ['backup'], SETTINGS, 'invalid_request'],
  ['backup of one and of all', ['backup', '--all', '--tenant', 'a'], SETTINGS, 'invalid_request'],
  ['restore from nothing', ['restore', '--tenant', 'a'], SETTINGS, 'invalid_request'],
  ['restore of nobody', ['restore', '--backup', ID], SETTINGS, 'invalid_request'],
  [
    'restore from two',
    ['restore', '--tenant', 'a', '--backup', ID, '--from', 'b.zip'],
    SETTINGS,
    'invalid_request',
  ],
  [
    'a choice that is none',
    ['restore', '--tenant', 'a', '--backup', ID, '--on-taken', 'overwrite'],
    SETTINGS,
    'invalid_request',
  ],
  [
    'a row that is none',
    ['restore', '--tenant', 'a', '--backup', ID, '--row', 'orders'],
    SETTINGS,
    'invalid_request',
  ],
  ['undo of nothing', ['undo', '--tenant', 'a'], SETTINGS, 'invalid_request'],
  [
    'undo of an id that is none',
    ['undo', '--tenant', 'a', '--restore', '17'],
    SETTINGS,
    'invalid_request',
  ],
  ['a day that is none', ['list', '--from', '2026-02-30'], SETTINGS, 'invalid_request'],
  ['a state that is none', ['list', '--status', 'fine'], SETTINGS, 'invalid_request'],
  ['a limit that is none', ['list', '--limit', '1e9'], SETTINGS, 'invalid_request'],
  ['init without a tenant table', ['init', '--tenant-column', 'a'], {}, 'invalid_request'],
  ['a settings file that is missing', ['list', '--settings', '/nowhere'], {}, 'invalid_request'],
  ['a store that is none', ['backup', '--all', '--store', 'ftp://x'], SETTINGS, 'invalid_request'],
  ['no database', ['list'], {}, 'not_configured'],
  [
    'no owner database',
    ['init', '--tenant-table', 'a', '--tenant-column', 'b'],
    {},
    'not_configured',
  ],
  [
    'a database URL that is none',
    ['list', '--db-url', 'mysql://x:hunter2@y/z'],
    {},
    'not_configured',
  ],
  [
    'the pooler that mixes sessions',
    ['list', '--db-url', 'postgres://a:hunter2@b:6543/c'],
    {},
    'not_configured',
  ],
  ['no store', ['backup', '--all'], { ...SETTINGS, BACKUP_STORE: '' }, 'not_configured'],
  [
    'no signing key',
    ['backup', '--all'],
    { ...SETTINGS, BACKUP_SIGNING_KEY: '' },
    'not_configured',
  ],
  [
    'a weak signing key',
    ['backup', '--all'],
    { ...SETTINGS, BACKUP_SIGNING_KEY: 'k:aHVudGVyMg==' },
    'not_configured',
  ],
  ['a log level that is none', ['show', ID], { ...SETTINGS, LOG_LEVEL: 'loud' }, 'not_configured'],
  ['a bucket without a key', ['show', ID, '--store', 'supabase://b'], SETTINGS, 'not_configured'],
  ['a database out of reach', ['list'], SETTINGS, 'database_unavailable'],
]

test.each(BAD_CALLS)('%s is said in words, and nothing is done', async (_, args, env) => {
  const { status, stdout, stderr } = await run(args, env)
  expect(status).toBe(EXIT.couldNotRun)
  expect(stdout).toBe('')
  expect(stderr).toMatch(/\S{3}/)
  expect(stderr).not.toMatch(/hunter2|aHVudGVyMg| {4}at /)
})

test.each(BAD_CALLS)('%s is one JSON document with --json', async (_, args, env, code) => {
  const { status, stdout, stderr } = await run([...args, '--json'], env)
  expect(status).toBe(EXIT.couldNotRun)
  expect(JSON.parse(stdout)).toMatchObject({ success: false, error: { code } })
  expect(stderr).toBe('')
  expect(stdout).not.toContain('hunter2')
})

test('a settings file counts, and what is set by hand wins over it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-cli-'))
  await writeFile(`${folder}/env`, 'SUPABASE_DB_URL="postgres://file@127.0.0.1:1/none"\n')
  const { stderr: fromFile } = await run(['list', '--settings', `${folder}/env`])
  const { stderr: byHand } = await run(['list', '--settings', `${folder}/env`], SETTINGS)
  await rm(folder, { recursive: true })
  expect(fromFile).toContain('as file')
  expect(byHand).toContain('as someone')
})

test('every error has an exit status, and those that pass by themselves are not «failed» for the busy ones', () => {
  const statuses = Object.values(EXIT)
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    expect(statuses).toContain(exitStatusOf(code))
    expect(exitStatusOf(code)).not.toBe(EXIT.done)
  }
  expect(exitStatusOf('tenant_busy')).toBe(EXIT.busy)
  expect(exitStatusOf('backup_damaged')).toBe(EXIT.failed)
  expect(exitStatusOf('bucket_public')).toBe(EXIT.refused)
  expect(exitStatusOf('answers_needed')).toBe(EXIT.answersNeeded)
})

test('as a process it ends with the same statuses and documents', async () => {
  const [help, text, json] = await Promise.all([
    runCli(['--help']),
    runCli(['list'], SETTINGS),
    runCli(['list', '--json'], SETTINGS),
  ])
  expect(help).toMatchObject({ status: EXIT.done, stderr: '' })
  expect(text).toMatchObject({ status: EXIT.couldNotRun, stdout: '' })
  expect(text.stderr).toMatch(/^tenantkeep: The database at .* \(database_unavailable\)\n$/)
  expect(json).toMatchObject({ status: EXIT.couldNotRun, stderr: '' })
  expect(JSON.parse(json.stdout)).toMatchObject({ error: { code: 'database_unavailable' } })
})
