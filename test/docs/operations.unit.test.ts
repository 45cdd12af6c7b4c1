import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { EXIT, exitStatusOf } from '../../src/cli/exit-status.ts'
import { readBackupSettings } from '../../src/core/backup/backup-settings.ts'
import type { Queryable } from '../../src/core/database/database.ts'
import { FINDINGS } from '../../src/core/doctor/finding.ts'
import { ERRORS, type ErrorCode } from '../../src/core/errors.ts'
import { readJobSettings } from '../../src/core/jobs/job-settings.ts'
import { REPOSITORY, readSection, readSources, readTableRows, readText } from './read-docs.ts'

const operations = readText('docs/operations.md')
const architecture = readText('docs/architecture.md')

describe('error codes in operations.md', () => {
  const rows = readTableRows(readSection(operations, 'Error codes'))

  test('are those of the code, each once', () => {
    expect(rows.map(([code]) => code).sort()).toEqual(Object.keys(ERRORS).sort())
  })

  test('have the HTTP status, the retry and the exit status that the code gives them', () => {
    const documented = rows.map(([code, status, retry, exit]) => [code, status, retry, exit])
    const actual = rows.map(([code]) => {
      const known = code as ErrorCode
      const { status, retry } = ERRORS[known]
      return [known, String(status), retry ? 'yes' : 'no', String(exitStatusOf(known))]
    })
    expect(documented).toEqual(actual)
  })

  test('each say what it means and what to do', () => {
    expect(rows.filter((row) => row.length !== 6 || row.some((cell) => cell === ''))).toEqual([])
  })
})

test('operations.md has every finding of doctor with its severity, and no other', () => {
  const rows = readTableRows(readSection(operations, 'Findings'))
  expect(rows.map(([code, severity]) => [code, severity]).sort()).toEqual(
    Object.entries(FINDINGS).sort(),
  )
  expect(rows.filter((row) => row.length !== 3 || row.some((cell) => cell === ''))).toEqual([])
})

describe('settings in operations.md', () => {
  const rows = readTableRows(readSection(operations, 'Settings'))

  test('are the keys that the database takes', () => {
    const definitions = readdirSync(join(REPOSITORY, 'supabase/migrations'))
      .sort()
      .flatMap((name) => [
        ...readText(`supabase/migrations/${name}`).matchAll(
          /settings_key_known check \(key in \(([^)]*)\)/g,
        ),
      ])
    // A later migration may have replaced the constraint.
    const keys = [...(definitions.at(-1)?.[1] ?? '').matchAll(/'(\w+)'/g)].map(([, key]) => key)
    expect(keys.length).toBeGreaterThan(0)
    expect(rows.map(([key]) => key).sort()).toEqual(keys.sort())
  })

  test('have the defaults that the code falls back to', async () => {
    const empty: Queryable = { query: async () => ({ rows: [], rowCount: 0 }) }
    const defaults = { ...(await readBackupSettings(empty)), ...(await readJobSettings(empty)) }
    const documented = rows
      .filter(([key = '']) => key in defaults)
      .map(([key, value]) => [key, value])
    expect(Object.fromEntries(documented)).toEqual(
      Object.fromEntries(Object.entries(defaults).map(([key, value]) => [key, String(value)])),
    )
  })
})

describe('variables of the environment in the documents', () => {
  const documented = [
    ...readTableRows(readSection(operations, 'Environment')),
    ...readTableRows(readSection(architecture, 'Working on it')),
  ].map(([name]) => name ?? '')
  const product = [...readSources('src', 'netlify')]

  test('are all that the code reads', () => {
    const read = new Set(product.flatMap(({ text }) => readVariables(text)))
    expect([...read].filter((name) => !documented.includes(name))).toEqual([])
  })

  test('are all read by the code', () => {
    const read = new Set(
      [...product, ...readSources('test')].flatMap(({ text }) => readVariables(text)),
    )
    expect(documented.filter((name) => !read.has(name))).toEqual([])
  })

  test('are each documented once', () => {
    expect(documented).toEqual([...new Set(documented)])
  })
})

/** `env.NAME` that is read, and the keys of the zod objects that read an environment. */
function readVariables(source: string): string[] {
  const used = [...source.matchAll(/\benv\.([A-Z][A-Z0-9_]+)\b(?! = )/g)]
  const schemas = [...source.matchAll(/^const Variables = z\.object\(\{(.*?)^\}\)/gms)]
  const keys = schemas.flatMap(([, body = '']) => [...body.matchAll(/^ {2}([A-Z][A-Z0-9_]*):/gm)])
  return [...used, ...keys].map(([, name = '']) => name).filter((name) => !OURS_ALONE.has(name))
}

/** Not for people: Vite's own, and what a test hands on. */
const OURS_ALONE = new Set(['DEV', 'PROD', 'PATH', 'TZ'])

describe('the command line in operations.md', () => {
  const section = readSection(operations, 'Command line')
  const rows = readTableRows(section)
  const sources = readSources('src/cli')
  const commands = sources.flatMap(({ text }) =>
    [...text.matchAll(/\.command\('(\w[\w-]*)'\)/g)].map(([, name = '']) => ({ name, text })),
  )
  // Flags that several commands share; those that every command has are described once.
  const groups = new Map(
    sources.flatMap(({ text }) =>
      [...text.matchAll(/^export function (add\w+Flags)\(.*?^\}/gms)].flatMap(
        ([body, called = '']) => (called === 'addCommonFlags' ? [] : [[called, body] as const]),
      ),
    ),
  )
  const declaredFlags = (text: string) =>
    [...text.matchAll(/(?:option|choice|keepOrRestore)\(\s*'(--[a-z][a-z-]*)/gi)].map(
      ([, flag]) => flag,
    )
  const flagsIn = (text: string) =>
    [...text.matchAll(/(?:'|\s|`)(--[a-z][a-z-]*)/g)].map(([, flag]) => flag)

  test('has every command, and no other', () => {
    expect(rows.map(([name]) => name).sort()).toEqual(commands.map(({ name }) => name).sort())
  })

  test('has every flag of every command, and no other', () => {
    const documented = rows.map(([name, text = '']) => [name, [...new Set(flagsIn(text))].sort()])
    const actual = rows.map(([name]) => {
      const source = commands.find((command) => command.name === name)?.text ?? ''
      const shared = [...groups].filter(([called]) => source.includes(`${called}(`))
      const declared = [source, ...shared.map(([, body]) => body)].flatMap(declaredFlags)
      return [name, [...new Set(declared)].sort()]
    })
    expect(documented).toEqual(actual)
  })

  test('has every exit status', () => {
    const statuses = [...section.matchAll(/^\| (\d) \| /gm)].map(([, status]) => Number(status))
    expect(statuses).toEqual(Object.values(EXIT).sort())
  })
})

test('operations.md names every function', () => {
  const files = readdirSync(join(REPOSITORY, 'netlify/functions'))
  const functions = files.map((name) => name.replace(/\.ts$/, ''))
  const rows = readTableRows(readSection(operations, 'Cron')).map(([name]) => name)
  expect(rows.sort()).toEqual(functions.sort())
})

test('every migration that makes a definer function is covered by security.md', () => {
  const security = readText('docs/security.md')
  const functions = readdirSync(join(REPOSITORY, 'supabase/migrations')).flatMap((name) => {
    const sql = readText(`supabase/migrations/${name}`)
    return [
      ...sql.matchAll(
        /create (?:or replace )?function tenantkeep\.(\w+)\((?:(?!create )[^;])*?security definer/g,
      ),
    ].map(([, called = '']) => called)
  })
  expect(functions.length).toBeGreaterThan(0)
  expect(functions.filter((name) => !security.includes(`\`${name}(`))).toEqual([])
})
