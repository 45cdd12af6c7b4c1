import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import type { SeedResult } from '../../../src/core/defaults/seed-types.ts'
import { installDemoTemplate } from '../../../supabase/demo/install-demo.ts'
import { RESTORED_SCHEMAS } from '../../odd-schemas/restored-schemas.ts'
import { createTestStore, servicesOf } from '../../support/backup-services.ts'
import { damageBySteps, type Step } from '../../support/damage.ts'
import { createTestDatabase } from '../../support/database.ts'
import {
  type Owns,
  photographTenant,
  readOwns,
  readRowVersions,
} from '../../support/expect-others-equal.ts'
import {
  createSeedTrial,
  refusalOfSeed,
  type SeedRequest,
  type SeedTrial,
  seedTrialOf,
  writtenBy,
} from '../../support/seed-trial.ts'

/** What people do to the template and to the tenant, in turn. */
const series = fc.record({
  template: fc.array(step(), { minLength: 2, maxLength: 12 }),
  tenant: fc.array(step(), { minLength: 2, maxLength: 12 }),
  mode: fc.constantFrom('missing' as const, 'update' as const),
})

function step(): fc.Arbitrary<Step> {
  return fc.record<Step>({
    kind: fc.constantFrom('update', 'insert', 'delete', 'swap', 'unset'),
    table: fc.nat(60),
    column: fc.nat(40),
    row: fc.nat(1000),
    rows: fc.integer({ min: 1, max: 6 }),
  })
}

/** The tenant keeps what it has. */
const KEEP: SeedRequest = {
  decisions: [
    { case: 'both_changed', decision: 'keep' },
    { case: 'natural_key_taken', decision: 'adopt' },
  ],
}

/** References of the tenant's rows that lead to a row of the template. */
async function countLeaks({ database, tenant, template }: SeedTrial, owns: Owns): Promise<number> {
  const { rows: keys } = await database.superuser.query<{
    child: string
    parent: string
    child_label: string
    parent_label: string
    pairs: string
  }>(
    `select c.conrelid::regclass::text as child, c.confrelid::regclass::text as parent,
       case cn.nspname when 'public' then cc.relname else cn.nspname || '.' || cc.relname end as child_label,
       case pn.nspname when 'public' then pc.relname else pn.nspname || '.' || pc.relname end as parent_label,
       (select string_agg(format('c.%I = p.%I', ca.attname, pa.attname), ' and ')
        from unnest(c.conkey, c.confkey) as k (child, parent)
        join pg_attribute ca on ca.attrelid = c.conrelid and ca.attnum = k.child
        join pg_attribute pa on pa.attrelid = c.confrelid and pa.attnum = k.parent) as pairs
     from pg_constraint c
     join pg_class cc on cc.oid = c.conrelid join pg_namespace cn on cn.oid = cc.relnamespace
     join pg_class pc on pc.oid = c.confrelid join pg_namespace pn on pn.oid = pc.relnamespace
     where c.contype = 'f'`,
  )
  let count = 0
  for (const { child, parent, child_label, parent_label, pairs } of keys) {
    const [ofChild, ofParent] = [owns[child_label], owns[parent_label]]
    if (ofChild === undefined || ofParent === undefined) continue
    const { rows } = await database.superuser.query<{ count: string }>(
      `select count(*) as count
       from (select t.* from ${child} t where ${ofChild}) c
       -- Where an owner is not named by a unique value, a row may be both tenants'.
       join (select t.* from ${parent} t where ${ofParent.replaceAll('$1', '$2')} and (${ofParent}) is not true) p on ${pairs}
       where $1::text is not null and $2::text is not null`,
      [tenant, template],
    )
    count += Number(rows[0]?.count)
  }
  return count
}

/** Tables that can't take part lose their mark, as an operator would do when told; the others are left. */
async function leaveOut(trial: SeedTrial): Promise<string[]> {
  const left: string[] = []
  for (;;) {
    const { blockers } = await trial.rehearse(KEEP)
    if (blockers.length === 0) return left
    const versions = await readRowVersions(trial.database)
    expect(await refusalOfSeed(trial.seed(KEEP))).toMatchObject({ code: 'seed_blocked' })
    expect(await readRowVersions(trial.database)).toEqual(versions)
    const labels = blockers.flatMap(({ table }) => table.split(', '))
    left.push(...labels)
    const { rowCount } = await trial.database.admin.query(
      `update tenantkeep.tenant_tables set is_seeded = false where is_seeded and
         case schema_name when 'public' then table_name else schema_name || '.' || table_name end = any ($1)`,
      [labels],
    )
    if (rowCount === 0) throw new Error(JSON.stringify(blockers))
  }
}

async function expectSeedings(
  trial: SeedTrial,
  owns: Owns,
  { seed, numRuns }: { seed: number; numRuns: number },
): Promise<number> {
  const { database, tenant, template } = trial
  const neighbours = { database, owns }
  let written = 0
  await fc.assert(
    fc.asyncProperty(series, async ({ template: ofTemplate, tenant: ofTenant, mode }) => {
      // As the last seeding left it.
      const left = await photographTenant(database, tenant, owns)
      await damageBySteps({ ...neighbours, tenant: template, neighbour: tenant }, ofTemplate)
      await damageBySteps({ ...neighbours, tenant, neighbour: template }, ofTenant)
      await leaveOut(trial)
      const before = await photographTenant(database, tenant, owns)
      const others = await trial.photographOthers()
      const leaks = await countLeaks(trial, owns)

      const result = await trial.seed({ ...KEEP, mode })

      await others.expectEqual()
      expect(await countLeaks(trial, owns)).toBeLessThanOrEqual(leaks)
      await expectEditsKept(trial, owns, { left, before, result, mode })
      written += Object.keys(writtenBy(result)).length
      const versions = await readRowVersions(database)
      expect(writtenBy(await trial.seed({ ...KEEP, mode }))).toEqual({})
      expect(await readRowVersions(database)).toEqual(versions)
    }),
    { seed, numRuns, endOnFailure: true },
  )
  return written
}

/** Rows that changed are those that nobody had touched since they were last seeded. */
async function expectEditsKept(
  { database, tenant }: SeedTrial,
  owns: Owns,
  given: {
    left: { rows: ReadonlyMap<string, readonly string[]> }
    before: { rows: ReadonlyMap<string, readonly string[]> }
    result: SeedResult
    mode: 'missing' | 'update'
  },
): Promise<void> {
  const after = await photographTenant(database, tenant, owns)
  for (const { name } of given.result.tables) {
    const now = new Set(after.rows.get(name))
    const seeded = new Set(given.mode === 'update' ? given.left.rows.get(name) : [])
    const lost = (given.before.rows.get(name) ?? []).filter(
      (row) => !now.has(row) && !seeded.has(row),
    )
    expect(lost, name).toEqual([])
  }
}

/** Where order matters to the database there is none, or triggers write beyond the tenant, as they are meant to. */
const SILENT = /^(triggers|keys set to null|cycles|rows owned)/
const IS_WHOLE = process.env.EVERY_SCHEMA !== undefined
/** Each shape that copying has to do something about; `EVERY_SCHEMA=1` takes them all, and more turns of each. */
const COPIED = /^(triggers|composite|cycles|rows owned|ties without)/
const schemas = RESTORED_SCHEMAS.filter(({ shape }) => IS_WHOLE || COPIED.test(shape))
/** Another series of changes for each. */
const FIRST_SEED = 20261121

/** Keys that the applications of these schemas would make themselves are made by the database. */
const GIVE_KEYS = `
  set constraints all immediate;
  do $$
  declare k record;
  begin
    for k in
      select c.conrelid::regclass::text as relation, a.attname
      from pg_constraint c
      join pg_class t on t.oid = c.conrelid and not t.relispartition
      join pg_namespace n on n.oid = t.relnamespace and n.nspname !~ '^(pg_|tenantkeep|auth|storage)'
      join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
      where c.contype = 'p' and cardinality(c.conkey) = 1 and not a.atthasdef and a.attidentity = ''
        and a.atttypid in ('int4'::regtype, 'int8'::regtype)
        and not exists (select from pg_constraint f where f.contype = 'f' and f.conrelid = c.conrelid
          and f.conkey @> c.conkey)
    loop
      execute format('alter table %s alter %I add generated by default as identity (start 100000)', k.relation, k.attname);
    end loop;
    for k in
      select t.oid::regclass::text as relation
      from pg_class t
      join pg_namespace n on n.oid = t.relnamespace and n.nspname !~ '^(pg_|tenantkeep|auth|storage|supabase|information)'
      where t.relkind = 'r' and not t.relispartition and t.relname not in ('tenant_backups', 'backup_logs')
        and not exists (select from pg_inherits i where t.oid in (i.inhrelid, i.inhparent))
        and not exists (select from pg_constraint c where c.conrelid = t.oid and c.contype = 'p')
    loop
      execute format('alter table %s add "the key" bigint generated always as identity primary key', k.relation);
    end loop;
  end $$`

const trials: SeedTrial[] = []
afterAll(async () => {
  for (const trial of trials) await trial.drop()
})

test('the demonstration’s defaults', async () => {
  const database = await createTestDatabase({ template: 'demo' })
  await database.admin.withConnection(installDemoTemplate)
  const { rows } = await database.admin.query<{ id: string }>(
    'select organization_id::text as id from customers group by 1 order by count(*), 1 limit 1 offset 1',
  )
  const store = await createTestStore()
  const trial = await seedTrialOf(database, store, servicesOf(database.worker, store.store), {
    template: 'a0000000-0000-4000-8000-000000000000',
    tenant: rows[0]?.id ?? '',
    seeded: [
      'gas_types',
      'locations',
      'customers',
      'sales_orders',
      'sales_order_items',
      'Price List 2025',
      'bottles',
    ],
  })
  trials.push(trial)

  const turns = { seed: FIRST_SEED, numRuns: IS_WHOLE ? 5 : 2 }
  expect(await expectSeedings(trial, await readOwns(database), turns)).toBeGreaterThan(0)
}, 120_000)

describe('a small host', () => {
  test.each(schemas.map((schema, at) => ({ ...schema, seed: FIRST_SEED + at })))(
    '$shape',
    async ({ sql, options, tenants: [template, tenant], owns, shape, seed }) => {
      const trial = await createSeedTrial({
        sql: `${sql};${GIVE_KEYS}`,
        options,
        template,
        tenant,
        owns,
      })
      trials.push(trial)
      if (SILENT.test(shape)) {
        await trial.run(`insert into tenantkeep.settings values ('seed_fires_triggers', 'false')`)
      }
      await expectSeedings(trial, owns, { seed, numRuns: IS_WHOLE ? 3 : 1 })
    },
    120_000,
  )
})
