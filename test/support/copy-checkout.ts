import { cp, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { REPOSITORY } from '../../src/local/migrations.ts'

/** What a stack is made of. */
const PARTS = ['package.json', 'tsconfig.json', 'netlify.toml', 'netlify', 'src', 'supabase']

/**
 * A copy of the checkout that shares its packages. Netlify's emulator keeps its working files in the
 * checkout and ends when another stack clears them away, so every stack of a test runs from a copy of
 * its own: beside other tests, and beside a person's `npm start`.
 */
export async function copyCheckout(): Promise<{ folder: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-checkout-'))
  for (const part of PARTS) {
    await cp(join(REPOSITORY, part), join(folder, part), { recursive: true })
  }
  await symlink(join(REPOSITORY, 'node_modules'), join(folder, 'node_modules'))
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) }
}
