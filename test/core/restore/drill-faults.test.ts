import { afterAll, beforeAll, expect, test } from 'vitest'
import { verifyInRotation } from '../../../src/core/backup/verify-in-rotation.ts'
import { recordDrillCrashes } from '../../../src/core/restore/drill-record.ts'
import { drillTenant } from '../../../src/core/restore/run-drills.ts'
import type { Services } from '../../../src/core/services.ts'
import { SYSTEM, servicesOf } from '../../support/backup-services.ts'
import { readRowVersions } from '../../support/expect-others-equal.ts'
import { type DatabaseFault, FaultyDatabase } from '../../support/faulty-database.ts'
import { FaultyStore } from '../../support/faulty-store.ts'
import { createRestoreTrial, type RestoreTrial } from '../../support/restore-trial.ts'

const HOST = {
  sql: `
    create table orgs (id int primary key, name text);
    create table people (id int primary key, org_id int not null references orgs, email text unique);
    insert into orgs values (1, 'ours'), (2, 'theirs');
    insert into people select i, 1 + i % 2, i || '@example' from generate_series(1, 20) i;`,
  options: { tenantTable: 'orgs', tenantColumns: ['org_id'] },
  tenants: ['1', '2'] as const,
}
const RUN = '00000000-0000-4000-8000-000000000002'

let trial: RestoreTrial
beforeAll(async () => {
  trial = await createRestoreTrial(HOST)
  await trial.backUp()
  await trial.database.superuser.query(
    `insert into tenantkeep.runs (id, kind, actor_kind, actor_label, tenant_ids)
     values ($1, 'verify', 'system', 'test', '{}')`,
    [RUN],
  )
})
afterAll(() => trial?.drop())

const drill = (services: Services) =>
  drillTenant(services, { tenantId: trial.tenant, actor: SYSTEM })

async function rotate(services: Services) {
  await trial.database.superuser.query(
    `update public.tenant_backups set verified_at = now() - interval '30 days', checked_at = null;
     delete from tenantkeep.verified_bytes`,
  )
  return verifyInRotation(services, {
    actor: SYSTEM,
    runId: RUN,
    until: new Date(Date.now() + 60_000),
  })
}

/** Each of some calls fails once, in each way; all of them over many runs of the tests. */
function* faultsOf(calls: number, least: number): Generator<DatabaseFault> {
  const step = Math.max(1, Math.floor(calls / least))
  for (let call = 1 + (Math.floor(Date.now() / 1_000) % step); call <= calls; call += step) {
    yield { call, how: call % 2 === 0 ? 'error' : 'after-success' }
  }
}

/** Nothing is left open, nothing of the host was written, no backup is called damaged, and the next one succeeds. */
async function expectHealthy(fault: string, before: unknown): Promise<void> {
  const { database, services } = trial
  await recordDrillCrashes(database.worker)
  const { rows: open } = await database.worker.query(
    `select status from tenantkeep.drills where status = 'running'
     union all select status from public.backup_logs where status = 'running'
     union all select 'damaged' from public.tenant_backups where damaged_at is not null`,
  )
  expect(open, fault).toEqual([])
  expect(await readRowVersions(database), fault).toEqual(before)
  expect((await drill(services)).status, fault).toBe('passed')
}

test('a drill of which any call to the database or the store fails leaves nothing behind', async () => {
  const { database, store } = trial
  const probe = new FaultyDatabase(database.worker)
  const probedStore = new FaultyStore(store.store)
  await drill(servicesOf(probe, probedStore))
  const before = await readRowVersions(database)

  for (const fault of faultsOf(probe.calls.length, 14)) {
    const faulty = new FaultyDatabase(database.worker, fault)
    const name = `${fault.how} at ${fault.call}: ${probe.calls[fault.call - 1]?.sql.slice(0, 80)}`
    await drill(servicesOf(faulty, store.store)).catch(() => {})
    expect(faulty.struck, name).toBe(true)
    await expectHealthy(name, before)
  }
  for (let call = 1; call <= probedStore.calls.length; call += 1) {
    const faulty = new FaultyStore(store.store, { call, how: 'error' })
    await expect(drill(servicesOf(database.worker, faulty))).rejects.toMatchObject({
      code: 'store_unavailable',
    })
    await expectHealthy(`store call ${call}`, before)
  }
})

test('a rotation of which any call fails marks nothing, and the next one does what is left', async () => {
  const { database, services, store } = trial
  const probe = new FaultyDatabase(database.worker)
  const probedStore = new FaultyStore(store.store)
  await rotate(servicesOf(probe, probedStore))
  const before = await readRowVersions(database)

  for (const fault of faultsOf(probe.calls.length, probe.calls.length)) {
    const name = `${fault.how} at ${fault.call}`
    await rotate(servicesOf(new FaultyDatabase(database.worker, fault), store.store)).catch(
      () => {},
    )
    await expectHealthy(name, before)
    expect(await rotate(services), name).toMatchObject({ done: 1, failed: 0, left: 0 })
  }
})
