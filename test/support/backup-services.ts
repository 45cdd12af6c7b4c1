import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { pino } from 'pino'
import { parseSigningKeys } from '../../src/core/backup/signature.ts'
import type { Database } from '../../src/core/database/database.ts'
import type { Actor, Services } from '../../src/core/services.ts'
import { openStore } from '../../src/core/store/open-store.ts'
import type { Store } from '../../src/core/store/store.ts'
import { locateInShared } from '../../src/core/tenants/locate-tenant.ts'

export const CRON: Actor = { kind: 'cron', id: null, label: 'cron' }
export const SYSTEM: Actor = { kind: 'system', id: null, label: 'test' }

export interface TestStore {
  store: Store
  folder: string
  remove(): Promise<void>
}

/** A store in a folder of its own. */
export async function createTestStore(): Promise<TestStore> {
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-store-'))
  return {
    store: openStore({ url: pathToFileURL(folder).href }),
    folder,
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

export const TEST_KEYS = parseSigningKeys({
  current: `test:${Buffer.alloc(32, 7).toString('base64')}`,
})

export function otherKeys(id = 'other') {
  return parseSigningKeys({ current: `${id}:${randomBytes(32).toString('base64')}` })
}

/** What the core needs, over a test database as the worker and a store. */
export function servicesOf(worker: Database, store: Store): Services {
  return {
    tenants: locateInShared(worker),
    store,
    signingKeys: TEST_KEYS,
    log: pino({ level: process.env.TEST_LOG ?? 'silent' }),
  }
}
