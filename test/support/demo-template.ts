import pg from 'pg'
import { loadDemo, protectDemo } from '../../src/local/load-demo.ts'
import { PLAIN_TEMPLATE, type TestCluster, urlOf } from './test-cluster.ts'

const DEMO_TEMPLATE = 'tk_demo_template'

/** Of the largest tenant: enough that a table of it has more than the thousand that the API answers with. */
const DEMO_ROWS = 5_000

/** All people of the demonstration sign in with it, in tests. */
export const DEMO_PASSWORD = 'demo-password-of-tests'

/**
 * The template with the demonstration application under protection, built by whichever test file
 * needs it first, once for the whole run. Returns its name.
 */
export async function buildDemoTemplate(cluster: TestCluster): Promise<string> {
  const client = new pg.Client(urlOf(cluster, 'supabase_admin', 'postgres'))
  await client.connect()
  try {
    // Test files run side by side, in processes of their own.
    await client.query(`select pg_advisory_lock(hashtext('${DEMO_TEMPLATE}'))`)
    const { rowCount } = await client.query(
      'select from pg_database where datname = $1 and datistemplate',
      [DEMO_TEMPLATE],
    )
    if (rowCount !== 0) return DEMO_TEMPLATE

    await client.query(`drop database if exists ${DEMO_TEMPLATE} with (force)`)
    await client.query(`create database ${DEMO_TEMPLATE} template ${PLAIN_TEMPLATE} owner postgres`)
    const adminUrl = urlOf(cluster, 'postgres', DEMO_TEMPLATE)
    const superuserUrl = urlOf(cluster, 'supabase_admin', DEMO_TEMPLATE)
    await loadDemo({ adminUrl, superuserUrl, password: DEMO_PASSWORD }, DEMO_ROWS)
    await protectDemo(adminUrl)
    await client.query(`alter database ${DEMO_TEMPLATE} is_template true`)
    return DEMO_TEMPLATE
  } finally {
    await client.end()
  }
}
