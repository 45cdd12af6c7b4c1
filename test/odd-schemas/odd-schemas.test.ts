import { describe, expect, it } from 'vitest'
import { initialiseProtection } from '../../src/core/tables/initialise-protection.ts'
import { readProtectionFaults } from '../../src/core/tables/read-protection-faults.ts'
import { runScript } from '../../src/local/hosted-shape.ts'
import { withDatabase } from '../support/database.ts'
import { expectConfined } from './expect-confined.ts'
import { ODD_SCHEMAS } from './odd-schemas.ts'

describe('a schema that init never saw is settled, confined and backed up whole', () => {
  it.each(ODD_SCHEMAS)('$shape', async (schema) => {
    await withDatabase(async (database) => {
      await runScript(database.adminUrl, schema.sql)
      const options = { ...schema.options, enableRowSecurity: true }
      const asked = await initialiseProtection(database.admin, { ...options, dryRun: true })
      expect(asked.questions.map((question) => question.id)).toEqual(schema.asks)

      const report = await initialiseProtection(database.admin, {
        ...options,
        acceptDefaults: true,
      })
      expect(report).toMatchObject({ isApplied: true, questions: [], unsettled: [] })
      expect(report.tables.filter((table) => !table.isWritable).map(({ name }) => name)).toEqual(
        schema.readOnly ?? [],
      )
      expect(await readProtectionFaults(database.worker)).toEqual([])
      await expectConfined(database, schema)
    })
  })
})

it('tenants of a table without a column for their name are listed without one', async () => {
  await withDatabase(async (database) => {
    await runScript(
      database.adminUrl,
      'create table orgs (id int primary key); insert into orgs values (7)',
    )
    await initialiseProtection(database.admin, {
      tenantTable: 'orgs',
      tenantColumns: [],
      enableRowSecurity: true,
    })
    const { rows } = await database.worker.query(
      'select tenant_id, tenant_name from tenantkeep.list_tenants()',
    )
    expect(rows).toEqual([{ tenant_id: '7', tenant_name: null }])
  })
})
