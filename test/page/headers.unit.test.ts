import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'

test('the page is served with a policy that allows nothing inline and nothing of other sites', async () => {
  const file = join(import.meta.dirname, '..', '..', 'netlify.toml')
  const policy = /Content-Security-Policy = "(.*)"/.exec(await readFile(file, 'utf8'))?.[1] ?? ''
  const directives = new Map(
    policy.split(';').map((directive) => {
      const [name = '', ...sources] = directive.trim().split(' ')
      return [name, sources] as const
    }),
  )
  expect(directives.get('default-src')).toEqual(["'none'"])
  expect(directives.get('script-src')).toEqual(["'self'"])
  expect(directives.get('style-src')).toEqual(["'self'"])
  expect(directives.get('frame-ancestors')).toEqual(["'none'"])
  expect(policy).not.toContain('unsafe')
  expect(policy).not.toContain(' http:')
})
