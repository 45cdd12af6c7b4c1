import { existsSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { expect, test } from 'vitest'
import * as z from 'zod'
import { listDocuments, REPOSITORY, readAnchors, readFences, readText } from './read-docs.ts'

const documents = listDocuments()

test.each(documents)('every link of %s leads somewhere', (document) => {
  const text = readText(document).replace(/^```.*?^```$/gms, '')
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link)
  const dead = links.filter((link) => !/^[a-z]+:/.test(link) && !leadsSomewhere(document, link))
  expect(dead).toEqual([])
})

function leadsSomewhere(document: string, link: string): boolean {
  const [path = '', anchor] = link.split('#')
  const target = path === '' ? document : join(dirname(document), path)
  const isInside = !relative(REPOSITORY, join(REPOSITORY, target)).startsWith('..')
  if (!isInside || !existsSync(join(REPOSITORY, target))) return false
  return anchor === undefined || readAnchors(readText(target)).has(anchor)
}

const Package = z.object({ scripts: z.record(z.string(), z.string()) })
const { scripts } = Package.parse(JSON.parse(readText('package.json')))

test.each(documents)('every npm script that %s names is there', (document) => {
  const text = readText(document)
  const named = [
    ...[...text.matchAll(/\bnpm run (?:-s |--silent )?([a-z][\w:-]*)/g)].map(([, name]) => name),
    ...[...text.matchAll(/\bnpm (start|test)\b/g)].map(([, name]) => name),
  ]
  expect(named.filter((name) => name !== undefined && !(name in scripts))).toEqual([])
})

test('README begins with what this is and the two commands', () => {
  const [first] = readFences(readText('README.md'))
  expect(first?.text).toMatch(/^npm ci && npm start\b.*\nnpm test\b/)
  const above = readText('README.md').split('```')[0] ?? ''
  expect(above.split('\n').length).toBeLessThan(10)
})

test.each(['src/core', 'src/http', 'src/cli'])(
  'architecture.md and the tree agree on %s',
  (part) => {
    const house = readFences(readText('docs/architecture.md'))[0]?.text ?? ''
    expect(house).toContain(`${part}/`)
    expect(existsSync(join(REPOSITORY, part))).toBe(true)
  },
)
