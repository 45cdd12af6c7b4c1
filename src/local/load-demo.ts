import { createDemoLogins } from '../../supabase/demo/create-demo-users.ts'
import {
  DEMO_OPERATOR,
  DEMO_TEMPLATE_TENANT,
  DEMO_TENANTS,
  listDemoPeople,
} from '../../supabase/demo/demo-tenants.ts'
import { generateDemo } from '../../supabase/demo/generate.ts'
import { installDemo, installDemoTemplate } from '../../supabase/demo/install-demo.ts'
import { connectDatabase } from '../core/database/connect-database.ts'
import {
  initialiseProtection,
  type ProtectionOptions,
  type ProtectionReport,
} from '../core/tables/initialise-protection.ts'

export interface DemoTarget {
  /** As `postgres`, who owns the demonstration. */
  adminUrl: string
  /** As the platform: people's logins are Auth's own rows. */
  superuserUrl: string
  /** One password for all people of the demonstration. */
  password: string
}

/**
 * Makes the demonstration application, its people and its rows, unless it is there. Whether it did.
 */
export async function loadDemo(
  { adminUrl, superuserUrl, password }: DemoTarget,
  largestTenantRows: number,
): Promise<boolean> {
  const admin = connectDatabase({ url: adminUrl, dataSessions: 1 })
  const platform = connectDatabase({ url: superuserUrl, dataSessions: 1 })
  try {
    const { rows } = await admin.query<{ found: string | null }>(
      "select to_regclass('public.organizations')::text as found",
    )
    if (rows[0]?.found == null) await admin.withConnection(installDemo)
    else if ((await admin.query('select from public.organizations limit 1')).rowCount > 0)
      return false

    await platform.withConnection((session) =>
      createDemoLogins(session, listDemoPeople(DEMO_TENANTS), () => password),
    )
    await admin.withConnection((session) => generateDemo(session, { rows: largestTenantRows }))
    return true
  } finally {
    await Promise.all([admin.close(), platform.close()])
  }
}

/** A person who may operate every tenant of the demonstration, as an administrator would list one. */
export async function loadDemoOperator(target: DemoTarget): Promise<void> {
  const admin = connectDatabase({ url: target.adminUrl, dataSessions: 1 })
  const platform = connectDatabase({ url: target.superuserUrl, dataSessions: 1 })
  try {
    await platform.withConnection((session) =>
      createDemoLogins(session, [DEMO_OPERATOR], () => target.password),
    )
    await admin.query(
      `insert into tenantkeep.operators (user_id, label) values ($1, $2) on conflict do nothing`,
      [DEMO_OPERATOR.id, DEMO_OPERATOR.email],
    )
  } finally {
    await Promise.all([admin.close(), platform.close()])
  }
}

/**
 * What every new organization starts with: the tenant that holds it, and `init` told of it. The demonstration
 * is loaded before; tests that are not about defaults do without.
 */
export async function loadDemoTemplate(adminUrl: string): Promise<ProtectionReport> {
  const admin = connectDatabase({ url: adminUrl, dataSessions: 1 })
  try {
    await admin.withConnection(installDemoTemplate)
  } finally {
    await admin.close()
  }
  return protectDemo(adminUrl, {
    templateTenant: DEMO_TEMPLATE_TENANT.id,
    document: {
      version: 1,
      tables: Object.fromEntries(
        DEMO_TEMPLATE_TENANT.tables.map((name) => [`public.${name}`, { marks: { seeded: true } }]),
      ),
    },
  })
}

/** `init` on the demonstration: which rows are whose, found in the catalog. */
export async function protectDemo(
  adminUrl: string,
  more: Pick<ProtectionOptions, 'templateTenant' | 'document'> = {},
): Promise<ProtectionReport> {
  const admin = connectDatabase({ url: adminUrl, dataSessions: 1 })
  try {
    const report = await initialiseProtection(admin, {
      tenantTable: 'public.organizations',
      tenantColumns: ['organization_id'],
      ...more,
    })
    if (!report.isApplied) {
      const reasons = report.unsettled.map(
        ({ schema, name, reason }) => `${schema}.${name}: ${reason}`,
      )
      throw new Error(`The demonstration could not be protected.\n${reasons.join('\n')}`)
    }
    return report
  } finally {
    await admin.close()
  }
}
