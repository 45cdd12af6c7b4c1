import { readFile } from 'node:fs/promises'
import type { DemoSession } from './generate.ts'

const FILES = ['schema.sql', 'triggers.sql', 'policies.sql']

/** Makes the demonstration's tables, triggers and policies in an empty schema `public`, as `postgres`, all or nothing. */
export async function installDemo(session: DemoSession): Promise<void> {
  const texts = await Promise.all(
    FILES.map((file) => readFile(new URL(file, import.meta.url), 'utf8')),
  )
  // One text of several statements is one transaction.
  await session.query(texts.join('\n'))
}
