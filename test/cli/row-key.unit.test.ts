import { expect, test } from 'vitest'
import { toRowKey } from '../../src/cli/row-key.ts'

test.each([
  ['orders:id=17', 'orders', { id: '17' }],
  ['order_items:order_id=17,line=2', 'order_items', { order_id: '17', line: '2' }],
  ['billing.invoices:id=a=b', 'billing.invoices', { id: 'a=b' }],
  ['codes:code=', 'codes', { code: '' }],
  ['codes:{"code":"a,b:c=d"}', 'codes', { code: 'a,b:c=d' }],
])('%s is a row', (text, table, key) => {
  expect(toRowKey(text)).toEqual({ table, key })
})

test.each(['orders', ':id=1', 'orders:', 'orders:17', 'orders:=1', 'orders:{"id":1}', 'orders:{'])(
  '%s is none',
  (text) => {
    expect(() => toRowKey(text)).toThrow(
      expect.objectContaining({
        code: 'invalid_request',
        message: expect.stringMatching(/--row must be like/),
      }),
    )
  },
)
