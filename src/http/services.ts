import type { Logger } from 'pino'
import { parseSigningKeys } from '../core/backup/signature.ts'
import { connectDatabase } from '../core/database/connect-database.ts'
import { requireSchema } from '../core/database/require-schema.ts'
import { DEFAULT_CONCURRENCY } from '../core/jobs/work-jobs.ts'
import { createLogger } from '../core/log.ts'
import type { Services } from '../core/services.ts'
import { openStores } from '../core/store/open-store.ts'
import { locateInShared } from '../core/tenants/locate-tenant.ts'
import type { Environment } from './environment.ts'

/** One holds the places, two are for upkeep, the others serve backups. */
const DATA_SESSIONS = DEFAULT_CONCURRENCY + 3

let built: { key: string; services: Services } | undefined
let log: Logger | undefined

/** One logger per process, also where nothing else could be built. */
export function getLogger(): Logger {
  log ??= createLogger()
  return log
}

/**
 * The services of this process, built on first use and kept while it is warm; another environment
 * builds them anew. Nothing is connected yet. Throws `not_configured`.
 */
export function getServices(environment: Environment): Services {
  const key = JSON.stringify(environment)
  if (built?.key === key) return built.services
  const services: Services = {
    tenants: locateInShared(
      connectDatabase({
        url: environment.databaseUrl,
        dataSessions: DATA_SESSIONS,
        applicationName: 'tenantkeep functions',
      }),
    ),
    store: openStores(environment.store, environment.copyStore),
    signingKeys: parseSigningKeys({
      current: environment.signingKey,
      previous: environment.previousSigningKey,
    }),
    log: getLogger(),
    alertWebhook: environment.alertWebhook,
  }
  const previous = built?.services
  built = { key, services }
  // Whoever still works with them finishes first: the pools end when their last session is back.
  previous?.tenants.close().catch(() => {})
  return services
}

/** Closes what `getServices` built; the next call builds it anew. */
export async function closeServices(): Promise<void> {
  const services = built?.services
  built = undefined
  await services?.tenants.close()
}

/** Whether the database has the schema that this code needs; asked until the answer is yes. */
const checked = new WeakSet<Services>()

export async function requireCurrentSchema(services: Services): Promise<void> {
  if (checked.has(services)) return
  await requireSchema(services.tenants.catalog)
  checked.add(services)
}
