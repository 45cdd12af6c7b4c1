import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import * as z from 'zod'
import { findFreePort } from '../../src/local/free-port.ts'
import { runScript } from '../../src/local/hosted-shape.ts'
import { applyMigrations } from '../../src/local/migrations.ts'
import { startPostgres } from '../../src/local/postgres.ts'
import { createPlatformSchemas } from '../../src/local/supabase-api.ts'

/** The one Postgres of a test run: how every test file finds it. */
export const TestCluster = z.object({
  port: z.number(),
  passwords: z.object({ supabaseAdmin: z.string(), postgres: z.string(), worker: z.string() }),
})
export type TestCluster = z.infer<typeof TestCluster>

/** Has what a hosted project has before its owner's first migration. */
export const HOSTED_TEMPLATE = 'tk_hosted_template'

/** Has our migrations too, and no host application. */
export const PLAIN_TEMPLATE = 'tk_template'

/** A login of the test cluster, for one of its databases. */
export function urlOf(
  cluster: TestCluster,
  user: 'supabase_admin' | 'postgres' | 'tenantkeep_worker',
  database: string,
): string {
  const password = {
    supabase_admin: cluster.passwords.supabaseAdmin,
    postgres: cluster.passwords.postgres,
    tenantkeep_worker: cluster.passwords.worker,
  }[user]
  return `postgres://${user}:${password}@127.0.0.1:${cluster.port}/${database}`
}

/** Boots a throw-away Postgres and builds the template that test databases are cloned from. */
export async function startTestCluster(): Promise<{
  cluster: TestCluster
  stop: () => Promise<void>
}> {
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-test-'))
  // The server's user must get in, where tests run as root.
  await chmod(folder, 0o711)
  const passwords = { supabaseAdmin: 'test-admin', postgres: 'test-owner', worker: 'test-worker' }
  const postgres = await startPostgres({
    dataFolder: join(folder, 'data'),
    port: await findFreePort(),
    passwords,
    isDurable: false,
    settings: { max_connections: '300' },
  })
  const stop = async () => {
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
  const cluster = { port: postgres.port, passwords }
  try {
    const superuser = urlOf(cluster, 'supabase_admin', 'postgres')
    await runScript(superuser, `create database ${HOSTED_TEMPLATE} owner postgres`)
    await createPlatformSchemas(urlOf(cluster, 'supabase_admin', HOSTED_TEMPLATE))
    await runScript(
      superuser,
      `create database ${PLAIN_TEMPLATE} template ${HOSTED_TEMPLATE} owner postgres`,
    )
    await applyMigrations(urlOf(cluster, 'postgres', PLAIN_TEMPLATE))
    await setWorkerPassword(superuser, passwords.worker)
  } catch (error) {
    await stop()
    throw error
  }
  return { cluster, stop }
}

async function setWorkerPassword(superuserUrl: string, password: string): Promise<void> {
  await runScript(
    superuserUrl,
    `do $$ begin
       if to_regrole('tenantkeep_worker') is not null then
         alter role tenantkeep_worker password ${pg.escapeLiteral(password)};
       end if;
     end $$`,
  )
}
