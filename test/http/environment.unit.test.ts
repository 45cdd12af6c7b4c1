import { describe, expect, test } from 'vitest'
import { BackupError } from '../../src/core/errors.ts'
import { readEnvironment } from '../../src/http/environment.ts'

const GOOD = { SUPABASE_DB_URL: 'postgres://worker:secret@db.example:5432/postgres' }

function refuse(given: Record<string, string>): BackupError {
  try {
    readEnvironment(given)
  } catch (error) {
    if (error instanceof BackupError) return error
    throw error
  }
  throw new Error('It was accepted.')
}

/** A key of the older kind: a JWT with a role. */
const legacyKey = (role: string) =>
  `eyJhbGciOiJIUzI1NiJ9.${Buffer.from(JSON.stringify({ iss: 'supabase', role })).toString('base64url')}.c2ln`

describe('the environment', () => {
  test('has defaults for what may be left out', () => {
    expect(readEnvironment(GOOD)).toMatchObject({
      store: { url: 'supabase://backups' },
      cronSecret: undefined,
      operatorSecret: undefined,
      mayUseSecretInQuery: false,
      allowedOrigins: [],
    })
  })

  test("takes today's names and those of older setups", () => {
    const old = readEnvironment({
      ...GOOD,
      VITE_SUPABASE_URL: 'https://a.supabase.co',
      SUPABASE_SERVICE_ROLE_KEY: legacyKey('service_role'),
      VITE_SUPABASE_ANON_KEY: legacyKey('anon'),
    })
    const today = readEnvironment({
      ...GOOD,
      SUPABASE_URL: 'https://a.supabase.co',
      SUPABASE_SECRET_KEY: 'sb_secret_x',
      SUPABASE_PUBLISHABLE_KEY: 'sb_publishable_x',
    })

    expect(old).toMatchObject({
      supabaseUrl: 'https://a.supabase.co',
      supabaseSecretKey: legacyKey('service_role'),
      supabasePublishableKey: legacyKey('anon'),
    })
    expect(today).toMatchObject({
      supabaseUrl: 'https://a.supabase.co',
      supabaseSecretKey: 'sb_secret_x',
      supabasePublishableKey: 'sb_publishable_x',
    })
  })

  test('counts an empty or blank value as not set', () => {
    expect(readEnvironment({ ...GOOD, CRON_SECRET: '  ', BACKUP_STORE: '' })).toMatchObject({
      cronSecret: undefined,
      store: { url: 'supabase://backups' },
    })
  })

  test.each([
    ['a secret key', { VITE_SUPABASE_KEY: 'sb_secret_canary' }, 'VITE_SUPABASE_KEY'],
    ['a service role key', { VITE_KEY: legacyKey('service_role') }, 'VITE_KEY'],
    ['the cron secret', { CRON_SECRET: 'canary', VITE_TOKEN: 'canary' }, 'VITE_TOKEN'],
    ['the operator secret', { OPERATOR_SECRET: 'canary', VITE_TOKEN: ' canary ' }, 'VITE_TOKEN'],
    ['the signing key', { BACKUP_SIGNING_KEY: 'a:canary', VITE_A: 'a:canary' }, 'VITE_A'],
    ['the database URL', { VITE_URL: GOOD.SUPABASE_DB_URL }, 'VITE_URL'],
    ['a variable named like a secret', { VITE_CRON_SECRET: 'canary' }, 'VITE_CRON_SECRET'],
  ])('refuses %s in a variable that is published', (_, given, name) => {
    const error = refuse({ ...GOOD, ...given })

    expect(error.code).toBe('not_configured')
    expect(error.message).toContain(name)
    expect(error.message).not.toContain('canary')
  })

  test('leaves what a page may know in peace', () => {
    const given = { VITE_SUPABASE_URL: 'https://a.supabase.co', VITE_ANON: legacyKey('anon') }

    expect(() => readEnvironment({ ...GOOD, ...given })).not.toThrow()
  })

  test.each([
    ['no database', {}, /SUPABASE_DB_URL is not set/],
    ['a URL that is none', { SUPABASE_DB_URL: 'db.example canary' }, /percent-encoded/],
    ['another protocol', { SUPABASE_DB_URL: 'https://db.example' }, /postgres:\/\//],
    ['transaction mode', { SUPABASE_DB_URL: 'postgres://w:canary@p.example:6543/x' }, /5432/],
    ['one secret for both', { ...GOOD, CRON_SECRET: 'canary', OPERATOR_SECRET: 'canary' }, /same/],
    ['an origin with a path', { ...GOOD, ALLOWED_ORIGINS: 'https://a.example/app' }, /ALLOWED/],
    ['every origin', { ...GOOD, ALLOWED_ORIGINS: '*' }, /ALLOWED_ORIGINS/],
  ])('refuses %s and says what to do', (_, given, message) => {
    const error = refuse(given)

    expect(error.code).toBe('not_configured')
    expect(error.message).toMatch(message)
    expect(error.message).not.toContain('canary')
  })

  test('allows the secret in the query by one word only', () => {
    const read = (value: string) =>
      readEnvironment({ ...GOOD, CRON_SECRET_IN_QUERY: value }).mayUseSecretInQuery

    expect([read('allow'), read('true'), read('1'), read('ALLOW')]).toEqual([
      true,
      false,
      false,
      false,
    ])
  })
})
