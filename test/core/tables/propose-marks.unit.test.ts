import { describe, expect, it } from 'vitest'
import { proposeMarks } from '../../../src/core/tables/propose-marks.ts'
import { hostTable } from './host-tables.ts'

describe('marks proposed by name', () => {
  it.each(['audit_log', 'stock_ledger', 'usage', 'LoginHistory', 'activity_logs'])(
    'keep the newer rows of %s in a restore',
    (name) => {
      expect(proposeMarks(hostTable(name, ['id'])).isHistory).toBe(true)
    },
  )

  it.each(['blogs', 'catalog', 'logins', 'events', 'customers'])('leave %s alone', (name) => {
    expect(proposeMarks(hostTable(name, ['id'])).isHistory).toBe(false)
  })

  it('keep rights and secrets as they live, and mask the secrets', () => {
    const members = hostTable('members', [
      'id',
      'user_id',
      'role text',
      'role_id',
      'is_admin boolean',
      'permissions text[]',
      'password_hash text',
      'resetToken text',
      'api_key text',
      'join_code text',
      'iban text',
    ])
    expect(proposeMarks(members)).toMatchObject({
      keepLive: [
        'role',
        'role_id',
        'is_admin',
        'permissions',
        'password_hash',
        'resetToken',
        'api_key',
        'join_code',
      ],
      masked: ['password_hash', 'resetToken', 'api_key', 'join_code', 'iban'],
    })
  })

  it('pass over what only sounds like it: counts, moments, keys of the table itself', () => {
    const table = hostTable('calls', [
      'token',
      'tokens_used integer',
      'max_tokens bigint',
      'password_changed_at timestamptz',
      'role_since date',
      'roles_count integer',
      'has_password boolean',
      'token_type text',
    ])
    expect(proposeMarks(table)).toMatchObject({ keepLive: [], masked: [] })
  })

  it.each([
    [['id', 'email text', 'name text'], ['name']],
    [
      ['id', 'first_name text', 'last_name text', 'notes text'],
      ['first_name', 'last_name'],
    ],
    [['id', 'invoice_number integer', 'total numeric'], ['invoice_number']],
    [['id', 'name jsonb', 'title character varying'], ['title']],
    [['id', 'a_id', 'b_id'], []],
  ])('label a row of %s by %s', (columns, label) => {
    expect(proposeMarks(hostTable('t', columns)).label).toEqual(label)
  })
})
