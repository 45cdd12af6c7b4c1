import { connectDatabase } from '../../../src/core/database/connect-database.ts'
import { workJobs } from '../../../src/core/jobs/work-jobs.ts'
import { openStores } from '../../../src/core/store/open-store.ts'
import { servicesOf } from '../../support/backup-services.ts'

/**
 * A worker as `npm run worker` is one: database URL, store URL, concurrency, and the URL of the second store if
 * there is one. Ends on SIGTERM.
 */
const [databaseUrl = '', storeUrl = '', concurrency = '1', copyUrl] = process.argv.slice(2)
const copy = copyUrl === undefined ? undefined : { url: copyUrl }
const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())

const database = connectDatabase({ url: databaseUrl, dataSessions: Number(concurrency) + 3 })
try {
  const report = await workJobs(servicesOf(database, openStores({ url: storeUrl }, copy)), {
    concurrency: Number(concurrency),
    signal: stop.signal,
  })
  console.log(JSON.stringify(report))
} finally {
  await database.close()
}
