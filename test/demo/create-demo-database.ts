import { createDemoUsers } from '../../supabase/demo/create-demo-users.ts'
import { listDemoPeople, listDemoTenants } from '../../supabase/demo/demo-tenants.ts'
import { type DemoOptions, type DemoReport, generateDemo } from '../../supabase/demo/generate.ts'
import { installDemo } from '../../supabase/demo/install-demo.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

/** A database with the demonstration as its owner made it: with rows, not under protection. */
export async function createDemoDatabase(
  options: DemoOptions = {},
): Promise<TestDatabase & { report: DemoReport }> {
  const database = await createTestDatabase()
  const report = await database.admin.withConnection(async (session) => {
    await installDemo(session)
    await createDemoUsers(session, listDemoPeople(listDemoTenants(options.tenants ?? 5)))
    return generateDemo(session, options)
  })
  return { ...database, report }
}
