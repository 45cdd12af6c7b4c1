import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@supabase/supabase-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type SupabaseApi, startSupabaseApi } from '../../src/local/supabase-api.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

const KEYS = {
  publishable: 'sb_publishable_of_tests',
  secret: 'sb_secret_of_tests',
  jwtSecret: 'the-tokens-of-tests-are-signed-with-this',
}
const WITHOUT_SESSION = { auth: { persistSession: false, autoRefreshToken: false } }

let database: TestDatabase
let api: SupabaseApi
let folder: string

beforeAll(async () => {
  database = await createTestDatabase()
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-storage-'))
  api = await startSupabaseApi({
    databaseUrl: database.superuserUrl,
    storageFolder: folder,
    keys: KEYS,
    port: 0,
  })
})
afterAll(async () => {
  await api.stop()
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

const clientWith = (key: string) => createClient(api.url, key, WITHOUT_SESSION)

test('the classes of the process stay its own', () => {
  // What the platform makes would be none of a class that was put in its place.
  expect(Response.error()).toBeInstanceOf(Response)
})

describe('the emulated Storage', () => {
  const bucket = () => clientWith(KEYS.secret).storage.from('things')

  beforeAll(async () => {
    await clientWith(KEYS.secret).storage.createBucket('things', { public: false })
    for (const path of [
      'a/one.txt',
      'a/two.txt',
      'a/deep/er/three.txt',
      'ab/four.txt',
      'five.txt',
    ]) {
      const { error } = await bucket().upload(path, Buffer.from(`this is ${path}`))
      expect(error).toBeNull()
    }
  })

  test('lists one level, with folders that have no id', async () => {
    const top = await bucket().list('')
    const inA = await bucket().list('a', { sortBy: { column: 'name', order: 'desc' } })

    const seen = (entries: typeof top.data) =>
      entries?.map(({ name, id }) => [name, id === null ? 'folder' : 'object'])
    expect(seen(top.data)).toEqual([
      ['a', 'folder'],
      ['ab', 'folder'],
      ['five.txt', 'object'],
    ])
    expect(seen(inA.data)).toEqual([
      ['two.txt', 'object'],
      ['one.txt', 'object'],
      ['deep', 'folder'],
    ])
  })

  test('lists by pages', async () => {
    const page = await bucket().list('a', { limit: 2, offset: 1 })

    expect(page.data?.map(({ name }) => name)).toEqual(['one.txt', 'two.txt'])
  })

  test('signs URLs that anybody can read, for a while', async () => {
    const one = await bucket().createSignedUrl('a/deep/er/three.txt', 60)
    const many = await bucket().createSignedUrls(['five.txt', 'missing.txt'], 60)

    const urls = [one.data?.signedUrl ?? '', many.data?.[0]?.signedUrl ?? '']
    const texts = await Promise.all(urls.map(async (url) => (await fetch(url)).text()))
    expect(texts).toEqual(['this is a/deep/er/three.txt', 'this is five.txt'])
    expect(many.data?.[1]?.error).toMatch(/does not exist/)
  })

  test('signs several paths at once that have signs in them, like those of our objects', async () => {
    const path = 'b/=50rice=20-x.json.gz'
    await bucket().upload(path, 'this is a list')

    const { data } = await bucket().createSignedUrls([path], 60)

    expect(await (await fetch(data?.[0]?.signedUrl ?? '')).text()).toBe('this is a list')
    await bucket().remove([path])
  })

  test('gives nothing to those without the secret key', async () => {
    const { data, error } = await clientWith(KEYS.publishable)
      .storage.from('things')
      .download('five.txt')

    expect(data).toBeNull()
    expect(error).not.toBeNull()
  })
})

describe('the hosted shape', () => {
  test('stays as it was after signed-in people have asked for rows', async () => {
    const client = clientWith(KEYS.publishable)
    const signedUp = await client.auth.signUp({
      email: 'ada@example.com',
      password: 'correct-horse',
    })
    const answer = await client.from('tenant_backups').select('id')

    expect(signedUp.error).toBeNull()
    expect(answer).toMatchObject({ data: [], error: null })
    const { rows } = await database.superuser.query(
      `select has_table_privilege('anon', 'public.tenant_backups', 'select') as anon_reads,
         has_table_privilege('authenticated', 'public.tenant_backups', 'insert') as people_write,
         has_table_privilege('authenticated', 'tenantkeep.settings', 'select') as private_open,
         (select rolsuper from pg_roles where rolname = 'postgres') as owner_is_superuser`,
    )
    expect(rows).toEqual([
      { anon_reads: false, people_write: false, private_open: false, owner_is_superuser: false },
    ])
  })

  test.each([
    ['the claim alone', `'request.jwt.claim.sub', '7f1c1c1e-0000-4000-8000-000000000001'`],
    ['all claims', `'request.jwt.claims', '{"sub": "7f1c1c1e-0000-4000-8000-000000000001"}'`],
  ])('knows who asks from %s', async (_from, setting) => {
    const { rows } = await database.admin.query(
      `select set_config(${setting}, true), (select auth.uid()) as who`,
    )

    expect(rows[0]).toMatchObject({ who: '7f1c1c1e-0000-4000-8000-000000000001' })
  })
})
