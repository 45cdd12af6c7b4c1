import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@supabase/supabase-js'
import { SupabaseStore } from '../../../src/core/store/supabase-store.ts'
import { startSupabaseApi } from '../../../src/local/supabase-api.ts'
import { createTestDatabase } from '../../support/database.ts'
import { describeStore } from './contract.ts'

describeStore('Supabase Storage', async () => {
  const database = await createTestDatabase()
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-storage-'))
  const keys = {
    publishable: `sb_publishable_${randomBytes(16).toString('hex')}`,
    secret: `sb_secret_${randomBytes(16).toString('hex')}`,
    jwtSecret: randomBytes(32).toString('hex'),
  }
  const api = await startSupabaseApi({
    databaseUrl: database.superuserUrl,
    storageFolder: folder,
    keys,
    port: 0,
  })
  const client = createClient(api.url, keys.secret)
  const made = await client.storage.createBucket('backups', { public: false })
  if (made.error !== null) throw made.error

  return {
    store: new SupabaseStore('backups', { url: api.url, secretKey: keys.secret }, { pageSize: 5 }),
    async overwrite(path, body) {
      const { error } = await client.storage.from('backups').upload(path, body, { upsert: true })
      if (error !== null) throw error
    },
    async close() {
      await api.stop()
      await database.drop()
      await rm(folder, { recursive: true })
    },
  }
})
