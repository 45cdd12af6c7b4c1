import { describe, expect, it } from 'vitest'
import { initialiseProtection } from '../../../src/core/tables/initialise-protection.ts'
import { readProtectionFaults } from '../../../src/core/tables/read-protection-faults.ts'
import { runScript } from '../../../src/local/hosted-shape.ts'
import { CONFINED_SCHEMAS } from '../../odd-schemas/confined-schemas.ts'
import { withDatabase } from '../../support/database.ts'
import {
  countAsOperator,
  deleteAndInsertAgain,
  expectWritesConfined,
  takeCensus,
  tryToEscape,
} from './confinement.ts'

describe('an odd schema under protection', () => {
  it.each(CONFINED_SCHEMAS)('$shape', async ({ sql, options, holds }) => {
    await withDatabase(async (database) => {
      await runScript(database.adminUrl, sql)
      const report = await initialiseProtection(database.admin, {
        ...options,
        enableRowSecurity: true,
      })
      expect(report).toMatchObject({ isApplied: true, unsettled: [] })
      expect(await readProtectionFaults(database.worker)).toEqual([])

      const tenants = Object.keys(holds)
      for (const [tenant, counts] of Object.entries(holds)) {
        expect(await takeCensus(database.worker, tenant)).toEqual(counts)
        expect(await countAsOperator(database, tenant)).toEqual(counts)
        await expectWritesConfined(
          database,
          tenant,
          tenants.filter((other) => other !== tenant),
        )
        expect(await deleteAndInsertAgain(database, tenant)).toEqual([])
      }
      const [first = '', second = ''] = tenants
      expect((await tryToEscape(database, first, second)).allowed).toEqual([])
      expect((await tryToEscape(database, second, first)).allowed).toEqual([])

      const again = await initialiseProtection(database.admin, options)
      expect(again.tables.filter((table) => table.state !== 'unchanged')).toEqual([])
    })
  })
})
