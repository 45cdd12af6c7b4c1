import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export const REPOSITORY = join(import.meta.dirname, '..', '..')

/** A file of the repository, as text. */
export function readText(path: string): string {
  return readFileSync(join(REPOSITORY, path), 'utf8')
}

/** Every `.ts` and `.tsx` file below these folders, with its text. */
export function readSources(...folders: string[]): { path: string; text: string }[] {
  return folders
    .flatMap((folder) =>
      readdirSync(join(REPOSITORY, folder), { recursive: true, encoding: 'utf8' }).map((name) =>
        join(folder, name),
      ),
    )
    .filter((path) => /\.tsx?$/.test(path))
    .map((path) => ({ path, text: readText(path) }))
}

/** The documents that people read, `README.md` first. */
export function listDocuments(): string[] {
  const names = readdirSync(join(REPOSITORY, 'docs')).filter((name) => name.endsWith('.md'))
  return ['README.md', ...names.sort().map((name) => `docs/${name}`)]
}

/** The text below a heading, up to the next one of the same or a higher rank. */
export function readSection(markdown: string, heading: string): string {
  const lines = markdown.split('\n')
  const from = lines.findIndex((line) => line.replace(/^#+ /, '') === heading && /^#/.test(line))
  if (from < 0) throw new Error(`There is no heading «${heading}».`)
  const rank = /^#+/.exec(lines[from] ?? '')?.[0].length ?? 1
  const rest = lines.slice(from + 1)
  const to = rest.findIndex((line) => new RegExp(`^#{1,${rank}} `).test(line))
  return rest.slice(0, to < 0 ? undefined : to).join('\n')
}

/** Rows of the tables of a text whose first cell is one name in backticks; cells without backticks. */
export function readTableRows(markdown: string): string[][] {
  return markdown
    .split('\n')
    .filter((line) => /^\| `[^`|]+` \|/.test(line))
    .map((line) =>
      line
        .slice(1, line.lastIndexOf('|'))
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim().replace(/^`([^`]+)`$/, '$1')),
    )
}

/** Fenced blocks: the words behind the fence, and what is inside. */
export function readFences(markdown: string): { info: string; text: string }[] {
  return [...markdown.matchAll(/^```([^\n]*)\n(.*?)^```$/gms)].map(([, info = '', text = '']) => ({
    info,
    text,
  }))
}

/** Anchors that GitHub makes of the headings. */
export function readAnchors(markdown: string): Set<string> {
  const withoutFences = markdown.replace(/^```.*?^```$/gms, '')
  return new Set(
    [...withoutFences.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replace(/\s/g, '-'),
    ),
  )
}
