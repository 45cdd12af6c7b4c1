import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import { BUSY, ORPHANING, RESTORED_SCHEMAS } from '../../odd-schemas/restored-schemas.ts'
import { damageBySteps, type Step } from '../../support/damage.ts'
import { createTestDatabase } from '../../support/database.ts'
import { readRowVersions } from '../../support/expect-others-equal.ts'
import {
  countWrites,
  createRestoreTrial,
  hasRegained,
  hasReleased,
  type RestoreTrial,
  readBackup,
  trialOf,
} from '../../support/restore-trial.ts'

/** What a restore brings back where nothing is left to the registry's marks. */
const WHOLE = {
  history: 'restore',
  accept_access_changes: true,
  accept_side_effects: true,
} as const

/** What an application may do to a tenant in a row. */
const series = fc.array(
  fc.record<Step>({
    kind: fc.constantFrom('update', 'insert', 'delete', 'swap', 'rekey', 'unset'),
    table: fc.nat(60),
    column: fc.nat(40),
    row: fc.nat(1000),
    rows: fc.integer({ min: 1, max: 12 }),
  }),
  { minLength: 5, maxLength: 30 },
)

async function readDigests(
  { database, services }: RestoreTrial,
  backupId: string | null,
): Promise<Record<string, string[]>> {
  const summary = await loadSummary(services, await readBackup(database, backupId ?? ''))
  return Object.fromEntries(
    summary.tables.map(({ name, parts }) => [name, parts.map((part) => part.raw_sha256)]),
  )
}

/** Any series of changes is taken back, and comes again; seed and path of a failure repeat it. */
async function expectRoundTrips(trial: RestoreTrial, numRuns: number): Promise<void> {
  const backup = await trial.backUp()
  const original = await trial.photographTenant()
  await fc.assert(
    fc.asyncProperty(series, async (steps) => {
      // Upon what the last series left, unless that was nothing at all.
      if ((await damageBySteps(trial, steps)) === 0) {
        await trial.restore(backup, WHOLE)
        await damageBySteps(trial, steps)
      }
      const damaged = await trial.photographTenant()
      const others = await trial.photographOthers()

      const first = await trial.restore(backup, WHOLE)

      await others.expectEqual({ releasedBy: first.restoreId })
      if (hasRegained(first)) await trial.restore(backup, WHOLE)
      await original.expectEqual()

      const versions = await readRowVersions(trial.database)
      const second = await trial.restore(backup, WHOLE)
      expect(countWrites(second)).toBe(0)
      expect(await readRowVersions(trial.database)).toEqual(versions)
      // Its safety backup is one of the restored tenant.
      const digests = await readDigests(trial, second.safetyBackupId)
      expect(digests).toEqual(await readDigests(trial, backup.id))

      if (hasReleased(first)) await trial.undo(first.restoreId)
      else await trial.restore(first.safetyBackupId ?? '', WHOLE)
      await damaged.expectEqual()
    }),
    { seed: 20261121, numRuns, endOnFailure: true },
  )
}

const trials: RestoreTrial[] = []
afterAll(async () => {
  for (const trial of trials) await trial.drop()
})

test('the demonstration comes back from any series of changes, and its neighbours stand still', async () => {
  const database = await createTestDatabase({ template: 'demo' })
  const { rows } = await database.admin.query<{ id: string }>(
    'select organization_id::text as id from customers group by 1 order by count(*), 1 limit 2',
  )
  const [tenant = '', neighbour = ''] = rows.map(({ id }) => id)
  const trial = await trialOf(database, [tenant, neighbour])
  trials.push(trial)

  await expectRoundTrips(trial, 2)
}, 120_000)

const small = RESTORED_SCHEMAS.filter(
  (schema) =>
    [BUSY, ORPHANING].includes(schema) ||
    /^(composite|rows owned|partitions of|several schemas with)/.test(schema.shape),
)

describe('a small host comes back from any series of changes', () => {
  test.each(small)(
    '$shape',
    async (schema) => {
      const trial = await createRestoreTrial(schema)
      trials.push(trial)

      await expectRoundTrips(trial, 2)
    },
    120_000,
  )
})
