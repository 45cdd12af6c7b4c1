import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BackupError } from '../../../src/core/errors.ts'
import { offboardTenant } from '../../../src/core/tenants/offboard-tenant.ts'
import { DEMO_TENANTS } from '../../../supabase/demo/demo-tenants.ts'
import { SYSTEM, servicesOf } from '../../support/backup-services.ts'
import { createTestDatabase } from '../../support/database.ts'
import { FaultyDatabase } from '../../support/faulty-database.ts'
import { createRestoreTrial, type RestoreTrial, trialOf } from '../../support/restore-trial.ts'

const OPERATOR = { ...SYSTEM, kind: 'operator' as const }

/** Somebody removes a tenant; what is left out is as for the real thing. */
function leave(
  trial: RestoreTrial,
  given: Partial<Parameters<typeof offboardTenant>[1]> = {},
  services = trial.services,
) {
  return offboardTenant(services, {
    actor: OPERATOR,
    tenantId: trial.tenant,
    reason: 'Contract ended',
    isDryRun: false,
    confirmName: null,
    acceptSideEffects: false,
    ...given,
  })
}

const journalOf = async ({ database, tenant }: RestoreTrial) =>
  (
    await database.admin.query<{
      status: string
      error_code: string | null
      total_records: number
    }>(
      `select status, error_code, total_records from public.backup_logs
       where backup_type = 'offboard' and organization_id = $1 order by created_at`,
      [tenant],
    )
  ).rows

describe('the demonstration', () => {
  let trial: RestoreTrial
  const [, nordlicht, , sapporo] = DEMO_TENANTS
  const name = sapporo?.name ?? ''
  beforeAll(async () => {
    const database = await createTestDatabase({ template: 'demo' })
    trial = await trialOf(database, [sapporo?.id ?? '', nordlicht?.id ?? ''])
  })
  afterAll(() => trial?.drop())

  test('a dry run counts what would go per table; without the name typed nothing goes, and the journal has the attempt', async () => {
    const before = await trial.photographTenant()

    const rehearsal = await leave(trial, { isDryRun: true })
    const attempt = leave(trial, { confirmName: 'Sapporo' })

    await expect(attempt).rejects.toThrow(/Type the name/)
    const counts = await trial.database.worker.query<{ name: string; count: number }>(
      'select table_name as name, row_count::int as count from tenantkeep.census($1) where row_count > 0',
      [trial.tenant],
    )
    expect(
      Object.fromEntries(
        rehearsal.tables.flatMap((t) => (t.deleted > 0 ? [[t.name, t.deleted]] : [])),
      ),
    ).toEqual(Object.fromEntries(counts.rows.map((row) => [row.name, row.count])))
    expect(rehearsal).toMatchObject({ isDryRun: true, runId: null, backupId: null, blockers: [] })
    await before.expectEqual()
    expect(await journalOf(trial)).toEqual([
      { status: 'failed', error_code: 'invalid_request', total_records: null },
    ])
  })

  test('goes with every row, leaves the others alone, and comes back from its pinned last backup', async () => {
    const before = await trial.photographTenant()
    const others = await trial.photographOthers()

    const done = await leave(trial, { confirmName: name, idempotencyKey: 'once' })

    await others.expectEqual()
    const left = await trial.database.worker.query(
      'select from tenantkeep.census($1) where row_count > 0',
      [trial.tenant],
    )
    expect(left.rowCount).toBe(0)
    const { rows: kept } = await trial.database.admin.query(
      `select backup_type, status, pin_reason, pinned_by_kind, verified_at is not null as verified
       from public.tenant_backups where id = $1`,
      [done.backupId],
    )
    expect(kept).toEqual([
      {
        ...{ backup_type: 'manual', status: 'complete', pin_reason: 'Contract ended' },
        ...{ pinned_by_kind: 'operator', verified: true },
      },
    ])
    expect((await journalOf(trial)).at(-1)?.status).toBe('complete')
    expect(await leave(trial, { confirmName: name, idempotencyKey: 'once' })).toEqual(done)
    await expect(leave(trial, { confirmName: name })).rejects.toThrow(/There is no organization/)

    await trial.restore(done.backupId ?? '', { accept_access_changes: true })

    await before.expectEqual()
    await others.expectEqual()
  })
})

const SMALL = {
  sql: `
    create table public.tenants (id text primary key, name text not null);
    create table public.notes (id bigint primary key, tenant_id text not null references public.tenants (id), body text);
    create table public.links (id bigint primary key, tenant_id text not null references public.tenants (id),
      note_id bigint references public.notes (id));
    insert into public.tenants values ('alpha', 'Alpha Gases'), ('beta', 'Beta Rentals');
    insert into public.notes values (1, 'alpha', 'a'), (2, 'alpha', 'b'), (3, 'beta', 'c');
    insert into public.links values (1, 'alpha', 1), (2, 'beta', 3);`,
  options: { tenantTable: 'public.tenants', tenantColumns: ['tenant_id'] },
  tenants: ['alpha', 'beta'] as const,
}

describe('a small host', () => {
  let trial: RestoreTrial
  beforeAll(async () => {
    trial = await createRestoreTrial(SMALL)
  })
  afterAll(() => trial?.drop())

  test("what another tenant's row refers to keeps the tenant from leaving", async () => {
    await trial.damage('update public.links set note_id = 2 where id = 2')
    const before = await trial.photographTenant()

    const rehearsal = await leave(trial, { isDryRun: true })
    const attempt = await leave(trial, { confirmName: 'Alpha Gases' }).catch(
      (error: unknown) => error,
    )

    expect(rehearsal.blockers.map(({ code, table }) => [code, table])).toEqual([
      ['referenced', 'notes'],
    ])
    expect(attempt).toBeInstanceOf(BackupError)
    expect(attempt).toHaveProperty('code', 'restore_blocked')
    await before.expectEqual()
    await trial.damage('update public.links set note_id = 3 where id = 2')
  })

  test('another plan than the approved one deletes nothing', async () => {
    const { planHash } = await leave(trial, { isDryRun: true })
    await trial.damage(`update public.notes set body = 'other' where id = 1`)
    const before = await trial.photographTenant()

    const attempt = await leave(trial, { confirmName: 'Alpha Gases', planHash }).catch(
      (e: unknown) => e,
    )

    expect(attempt).toHaveProperty('code', 'plan_stale')
    await before.expectEqual()
  })

  test('whatever call of the database fails, all rows are there or none, and the journal says which', async () => {
    const others = await trial.photographOthers()
    const counted = new FaultyDatabase(trial.database.worker)
    const first = await leave(
      trial,
      { confirmName: 'Alpha Gases' },
      servicesOf(counted, trial.store.store),
    )
    const before = await (async () => {
      await trial.restore(first.backupId ?? '')
      return trial.photographTenant()
    })()
    // Odd steps, so that both ways of failing have their turn.
    const step = process.env.EVERY_FAULT === undefined ? 11 : 1
    for (let call = 1; call <= counted.calls.length; call += step) {
      const how = call % 2 === 0 ? ('error' as const) : ('after-success' as const)
      const faulty = new FaultyDatabase(trial.database.worker, { call, how })

      const outcome = await leave(
        trial,
        { confirmName: 'Alpha Gases' },
        servicesOf(faulty, trial.store.store),
      ).catch((error: unknown) => error)

      const { rowCount } = await trial.database.admin.query(
        `select from public.tenants where id = 'alpha'`,
      )
      if (rowCount === 0) {
        const last = await trial.database.admin.query<{ id: string }>(
          `select safety_backup_id as id from public.backup_logs
           where backup_type = 'offboard' and status = 'complete' order by created_at desc limit 1`,
        )
        await trial.restore(last.rows[0]?.id ?? '')
      } else expect(outcome, `call ${call}`).toBeInstanceOf(Error)
      await before.expectEqual()
    }
    await others.expectEqual()
    expect((await journalOf(trial)).filter(({ status }) => status === 'running')).toEqual([])
  })
})
