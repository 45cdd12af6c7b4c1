import { describe, expect, test } from 'vitest'
import { openStore, openStores } from '../../../src/core/store/open-store.ts'
import { placesOf } from '../../../src/core/store/read-with-copy.ts'
import { readCopySettings, readCredentials } from '../../../src/core/store/store-settings.ts'

const supabase = { supabaseUrl: 'https://abc.supabase.co', supabaseSecretKey: 'sb_secret_x' }

describe('opening a store', () => {
  test('takes a directory without any key', () => {
    expect(openStore({ url: 'file:///var/backups' }).url).toBe('file:///var/backups')
  })

  test('takes a bucket, with a secret key or the service role key of older projects', () => {
    expect(openStore({ ...supabase, url: 'supabase://Backups' }).url).toBe('supabase://Backups')
    const legacy = { ...supabase, supabaseSecretKey: 'eyJhbGciOi.eyJyb2xlIjoi.c2lnbmF0dXJl' }
    expect(openStore({ ...legacy, url: 'supabase://backups/' }).url).toBe('supabase://backups')
  })

  test.each([
    '',
    'backups',
    '/var/backups',
    'file:///',
    'file://host/backups',
    'supabase://',
    'supabase://a/b',
    'supabase://..',
    'supabase://a?b',
    's3://',
    's3://A/b',
    's3://bucket/../b',
    's3://bucket?x',
    'https://abc.supabase.co',
  ])('refuses %j and says what it takes', (url) => {
    expect(() => openStore({ ...supabase, url })).toThrow(
      expect.objectContaining({
        code: 'invalid_request',
        message: expect.stringContaining('supabase://a-bucket'),
      }),
    )
  })

  test.each([
    ['SUPABASE_URL', { supabaseUrl: undefined }],
    ['SUPABASE_URL', { supabaseUrl: '' }],
    ['SUPABASE_URL', { supabaseUrl: 'abc.supabase.co' }],
    ['SUPABASE_URL', { supabaseUrl: 'ftp://abc.supabase.co' }],
    ['SUPABASE_URL', { supabaseUrl: 'https://user:word@abc.supabase.co' }],
    ['SUPABASE_SECRET_KEY', { supabaseSecretKey: undefined }],
    ['SUPABASE_SECRET_KEY', { supabaseSecretKey: '' }],
    ['SUPABASE_SECRET_KEY', { supabaseSecretKey: 'sb_secret_x\nhidden' }],
    ['SUPABASE_SECRET_KEY', { supabaseSecretKey: 'sb_publishable_hidden' }],
  ])('names %s where a bucket needs it, and never its value', (variable, change) => {
    const open = () => openStore({ ...supabase, ...change, url: 'supabase://backups' })
    expect(open).toThrow(
      expect.objectContaining({
        code: 'not_configured',
        message: expect.stringContaining(variable),
      }),
    )
    expect(open).not.toThrow(/hidden|word/)
  })
})

describe('opening an S3 store', () => {
  const s3 = {
    endpoint: undefined,
    region: 'eu-central-1',
    accessKeyId: 'AKIA',
    secretAccessKey: 'hidden',
    sessionToken: undefined,
    forcePathStyle: undefined,
  }

  test('keeps bucket and prefix in its URL, and no slash at its end', () => {
    expect(openStore({ url: 's3://backups', s3 }).url).toBe('s3://backups')
    expect(openStore({ url: 's3://back.ups-1/a/b_c/', s3 }).url).toBe('s3://back.ups-1/a/b_c')
  })

  test('needs no region where an endpoint is given', () => {
    const given = { ...s3, region: undefined, endpoint: 'https://s3.example.com' }
    expect(openStore({ url: 's3://backups', s3: given }).url).toBe('s3://backups')
  })

  test.each([
    ['REGION', { region: undefined }],
    ['REGION', { region: 'eu central' }],
    ['ENDPOINT', { endpoint: 's3.example.com' }],
    ['ENDPOINT', { endpoint: 'https://user:hidden@s3.example.com' }],
    ['ACCESS_KEY_ID', { accessKeyId: undefined }],
    ['SECRET_ACCESS_KEY', { secretAccessKey: undefined }],
    ['SECRET_ACCESS_KEY', { secretAccessKey: 'hidden\nhidden' }],
    ['SESSION_TOKEN', { sessionToken: 'hidden hidden' }],
    ['FORCE_PATH_STYLE', { forcePathStyle: 'yes' }],
  ])('names %s, and never its value', (variable, change) => {
    const open = () => openStore({ url: 's3://backups', s3: { ...s3, ...change } })
    expect(open).toThrow(
      expect.objectContaining({
        code: 'not_configured',
        message: expect.stringContaining(`BACKUP_S3_${variable}`),
      }),
    )
    expect(open).not.toThrow(/hidden/)
  })
})

describe('opening the place of copies', () => {
  test('reads through the copy, and keeps the URL of the first', () => {
    const store = openStores({ url: 'file:///a' }, { url: 'file:///b' })
    expect(store.url).toBe('file:///a')
    expect(placesOf(store).map((place) => place.url)).toEqual(['file:///a', 'file:///b'])
    expect(placesOf(openStores({ url: 'file:///a' }, undefined))).toHaveLength(1)
  })

  test.each([
    ['file:///a', 'file:///a'],
    ['file:///a', 'file:///a/b'],
    ['file:///a/b', 'file:///a'],
  ])('refuses %s beside %s', (first, copy) => {
    expect(() => openStores({ url: first }, { url: copy })).toThrow(
      expect.objectContaining({ code: 'not_configured' }),
    )
  })
})

describe('the variables of the stores', () => {
  const first = { BACKUP_S3_ACCESS_KEY_ID: 'a', BACKUP_S3_SECRET_ACCESS_KEY: 'b' }

  test('take the names of AWS outside of functions only', () => {
    const aws = { AWS_ACCESS_KEY_ID: 'x', AWS_SECRET_ACCESS_KEY: 'y', AWS_REGION: 'r' }
    expect(readCredentials(aws).s3).toMatchObject({ accessKeyId: 'x', region: 'r' })
    expect(readCredentials({ ...aws, ...first }).s3).toMatchObject({
      accessKeyId: 'a',
      secretAccessKey: 'b',
    })
    expect(readCredentials({ ...aws, AWS_LAMBDA_FUNCTION_NAME: 'f' }).s3).toMatchObject({
      accessKeyId: undefined,
      secretAccessKey: undefined,
      region: undefined,
    })
  })

  test('give the copy its own credentials, or those of the first place', () => {
    const copy = { ...first, BACKUP_COPY_STORE: 's3://copies' }
    expect(readCopySettings({})).toBeUndefined()
    expect(readCopySettings(copy)?.s3).toMatchObject({ accessKeyId: 'a' })
    expect(readCopySettings({ ...copy, BACKUP_COPY_S3_ACCESS_KEY_ID: 'c' })?.s3).toMatchObject({
      accessKeyId: 'c',
      secretAccessKey: undefined,
    })
  })

  test('never send the key of one project to another', () => {
    const given = {
      SUPABASE_URL: 'https://a.supabase.co',
      SUPABASE_SECRET_KEY: 'sb_secret_a',
      BACKUP_COPY_STORE: 'supabase://copies',
    }
    expect(readCopySettings(given)).toMatchObject({ supabaseSecretKey: 'sb_secret_a' })
    expect(
      readCopySettings({ ...given, BACKUP_COPY_SUPABASE_URL: 'https://b.supabase.co' }),
    ).toMatchObject({ supabaseUrl: 'https://b.supabase.co', supabaseSecretKey: undefined })
  })
})
