import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import type { Database } from '../../src/core/database/database.ts'
import { findFreePort } from '../../src/local/free-port.ts'
import { runScript } from '../../src/local/hosted-shape.ts'
import { type OtherVersion, startPostgres } from '../../src/local/postgres.ts'

/** A plain Postgres of some major version: no `auth`, no API roles; logins are made by the test. */
export interface VersionCluster {
  superuserUrl(database?: string): string
  /**
   * A login that is no superuser, with these attributes, and a database that it owns. It may silence
   * triggers, unless told otherwise.
   */
  createOwner(owner: {
    name: string
    attributes: string
    maySilence?: boolean
  }): Promise<{ url: string; database: Database }>
  connect(user: string, password: string, database: string): Database
  stop(): Promise<void>
}

/** Boots a throw-away server; `undefined` is the version of the stack. */
export async function startVersion(version: OtherVersion | undefined): Promise<VersionCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-version-'))
  // The server's user must get in, where tests run as root.
  await chmod(folder, 0o711)
  const postgres = await startPostgres({
    dataFolder: join(folder, 'data'),
    port: await findFreePort(),
    passwords: { supabaseAdmin: 'test-admin', postgres: 'test-owner' },
    isDurable: false,
    ...(version === undefined ? {} : { version }),
    settings: { max_connections: '60', shared_buffers: '64MB' },
  }).catch(async (error: unknown) => {
    await rm(folder, { recursive: true, force: true })
    throw error
  })
  const opened: Database[] = []
  const superuserUrl = (database?: string) => postgres.url('supabase_admin', database)
  const urlOf = (user: string, password: string, database: string) =>
    `postgres://${user}:${password}@127.0.0.1:${postgres.port}/${database}`
  const connect = (user: string, password: string, database: string) => {
    const opening = connectDatabase({
      url: urlOf(user, password, database),
      applicationName: `test ${user}`,
    })
    opened.push(opening)
    return opening
  }
  return {
    superuserUrl,
    connect,
    async createOwner({ name, attributes, maySilence = true }) {
      const role = pg.escapeIdentifier(name)
      await runScript(
        superuserUrl(),
        `create role ${role} login nosuperuser ${attributes} password 'owner'`,
      )
      await runScript(superuserUrl(), `create database ${role} owner ${role} template template0`)
      if (maySilence) {
        await runScript(
          superuserUrl(),
          `grant set on parameter session_replication_role to ${role}`,
        )
      }
      return { url: urlOf(name, 'owner', name), database: connect(name, 'owner', name) }
    },
    async stop() {
      await Promise.all(opened.map((database) => database.close()))
      await postgres.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
