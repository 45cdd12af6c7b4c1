import { describe, expect, test } from 'vitest'
import { openStore } from '../../../src/core/store/open-store.ts'

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
    's3://bucket',
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
