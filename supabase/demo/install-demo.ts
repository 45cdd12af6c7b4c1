import { readFile } from 'node:fs/promises'
import { DEMO_TEMPLATE_TENANT } from './demo-tenants.ts'
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

/** Makes the tenant whose rows are the defaults, where it is not there yet. Whether it did. */
export async function installDemoTemplate(session: DemoSession): Promise<boolean> {
  const { rowCount } = await session.query('select from public.organizations where id = $1', [
    DEMO_TEMPLATE_TENANT.id,
  ])
  if (rowCount > 0) return false
  await session.query(await readFile(new URL('template.sql', import.meta.url), 'utf8'))
  return true
}
