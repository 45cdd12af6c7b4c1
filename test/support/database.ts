import { randomBytes } from 'node:crypto'
import { inject } from 'vitest'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import type { Database } from '../../src/core/database/database.ts'
import { runScript } from '../../src/local/hosted-shape.ts'
import { buildDemoTemplate } from './demo-template.ts'
import { HOSTED_TEMPLATE, PLAIN_TEMPLATE, type TestCluster, urlOf } from './test-cluster.ts'

/**
 * `empty`: nothing at all. `hosted`: a new project, before anybody's migrations. `plain`: that and our
 * migrations. `demo`: that and the demonstration application with its data, under protection.
 */
export type Template = 'hosted' | 'plain' | 'demo' | 'empty'

/** A database of one test file's own. The connections open on first use. */
export interface TestDatabase {
  name: string
  superuserUrl: string
  /** As `postgres`, who owns everything and is no superuser. */
  adminUrl: string
  /** As `tenantkeep_worker`, whom functions and command line log in as. */
  workerUrl: string
  superuser: Database
  admin: Database
  worker: Database
  /** Closes the three connections and drops the database, whoever is still connected. */
  drop(): Promise<void>
}

/** Clones a template. Drop it in `afterAll`. */
export async function createTestDatabase(
  options: { template?: Template } = {},
): Promise<TestDatabase> {
  const cluster = inject('cluster')
  const name = `test_${randomBytes(6).toString('hex')}`
  const template = await templateOf(cluster, options.template ?? 'plain')
  const maintenance = urlOf(cluster, 'supabase_admin', 'postgres')
  await runScript(maintenance, `create database ${name} template ${template} owner postgres`)
  await runScript(
    maintenance,
    `do $$ begin
       if to_regrole('tenantkeep_operator') is not null then
         grant connect, temporary on database ${name} to tenantkeep_operator;
         grant connect on database ${name} to tenantkeep_worker;
       end if;
     end $$`,
  )

  const superuserUrl = urlOf(cluster, 'supabase_admin', name)
  const adminUrl = urlOf(cluster, 'postgres', name)
  const workerUrl = urlOf(cluster, 'tenantkeep_worker', name)
  const superuser = connectDatabase({ url: superuserUrl, applicationName: 'test superuser' })
  const admin = connectDatabase({ url: adminUrl, applicationName: 'test admin' })
  const worker = connectDatabase({ url: workerUrl, applicationName: 'test worker' })
  return {
    name,
    superuserUrl,
    adminUrl,
    workerUrl,
    superuser,
    admin,
    worker,
    async drop() {
      await Promise.all([superuser.close(), admin.close(), worker.close()])
      await runScript(maintenance, `drop database if exists ${name} with (force)`)
    },
  }
}

/** Gives the callback a fresh database and drops it afterwards, whatever happened. */
export async function withDatabase<T>(
  use: (database: TestDatabase) => Promise<T>,
  options: { template?: Template } = {},
): Promise<T> {
  const database = await createTestDatabase(options)
  try {
    return await use(database)
  } finally {
    await database.drop()
  }
}

async function templateOf(cluster: TestCluster, template: Template): Promise<string> {
  if (template === 'empty') return 'template0'
  if (template === 'hosted') return HOSTED_TEMPLATE
  if (template === 'plain') return PLAIN_TEMPLATE
  return buildDemoTemplate(cluster)
}
