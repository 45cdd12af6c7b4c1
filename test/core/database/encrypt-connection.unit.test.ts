import { Client } from 'pg'
import { describe, expect, test } from 'vitest'
import { encryptConnection } from '../../../src/core/database/encrypt-connection.ts'

/** What the driver makes of a URL: false, or how it checks the server. */
function sslOf(url: string): unknown {
  const client = new Client({ connectionString: encryptConnection(url) })
  return (client as unknown as { connectionParameters: { ssl: unknown } }).connectionParameters.ssl
}

describe('The connection to the database', () => {
  test.each([
    'postgres://u:p@db.example.com:5432/app',
    'postgres://u:p@10.0.0.7/app',
    'postgres://u:p@db.example.com/app?sslmode=require',
    'postgres://u:p@db.example.com/app?sslmode=no-verify',
  ])('is encrypted to another machine: %s', (url) => {
    expect(sslOf(url)).toEqual({ rejectUnauthorized: false })
  })

  test('checks who answers where the URL asks for it', () => {
    expect(sslOf('postgres://u:p@db.example.com/app?sslmode=verify-full')).toEqual({})
  })

  test.each([
    'postgres://u:p@localhost:5432/app',
    'postgres://u:p@127.0.0.1/app',
    'postgres://u:p@[::1]:5432/app',
    'postgres://u:p@db.internal/app?sslmode=disable',
  ])('is left in the clear on this machine, or where the URL says so: %s', (url) => {
    expect(sslOf(url)).toBe(false)
  })

  test('keeps a password with special characters', () => {
    const url = encryptConnection('postgres://u:p%40%2F%3A@db.example.com/app')
    expect(new Client({ connectionString: url }).password).toBe('p@/:')
  })
})
