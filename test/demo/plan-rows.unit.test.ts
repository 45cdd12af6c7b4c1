import { expect, test } from 'vitest'
import { DEMO_TENANTS, listDemoPeople, listDemoTenants } from '../../supabase/demo/demo-tenants.ts'
import { LEAST_ROWS, planRows } from '../../supabase/demo/plan-rows.ts'

const cases = DEMO_TENANTS.flatMap((tenant) =>
  (['mixed', 'flat'] as const).flatMap((shape) =>
    [0, LEAST_ROWS, LEAST_ROWS + 1, 150, 1_000, 15_000, 1_000_000].map(
      (rows) => [tenant.slug, rows, shape, tenant] as const,
    ),
  ),
)

test.each(cases)(
  '%s with %i rows, %s, gets exactly these and some in every table',
  (_, rows, shape, tenant) => {
    const counts = Object.values(planRows(tenant, rows, shape))

    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(Math.max(rows, LEAST_ROWS))
    expect(Math.min(...counts)).toBeGreaterThan(0)
  },
)

test('a flat tenant is scans for four fifths', () => {
  const [tenant] = listDemoTenants(1)
  const counts = tenant && planRows(tenant, 200_000, 'flat')

  expect((counts?.bottle_scans ?? 0) / 200_000).toBeCloseTo(0.8, 1)
})

test('any number of tenants has names, ids and people of its own', () => {
  const tenants = listDemoTenants(300)
  const people = listDemoPeople(tenants)

  expect(new Set(tenants.map(({ id }) => id)).size).toBe(300)
  expect(new Set(tenants.map(({ name }) => name)).size).toBe(300)
  expect(new Set(people.map(({ id }) => id)).size).toBe(900)
  expect(new Set(people.map(({ email }) => email)).size).toBe(900)
})
