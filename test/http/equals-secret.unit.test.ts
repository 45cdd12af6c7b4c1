import { expect, test } from 'vitest'
import { equalsSecret } from '../../src/http/authorize.ts'

test.each([
  ['the secret itself', 'abc', 'abc', true],
  ['another secret', 'abd', 'abc', false],
  ['its beginning', 'ab', 'abc', false],
  ['more than it', 'abcd', 'abc', false],
  ['other letters of the same look', 'аbc', 'abc', false],
  ['nothing, where a secret is set', '', 'abc', false],
  ['nothing, where none is set', '', undefined, false],
  ['nothing, where it is empty', '', '', false],
  ['the word undefined, where none is set', 'undefined', undefined, false],
])('%s', (_, given, secret, expected) => {
  expect(equalsSecret(given, secret)).toBe(expected)
})
