import { expect, test } from 'vitest'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { drillTenant } from '../../../src/core/restore/run-drills.ts'
import { CONFINED_SCHEMAS } from '../../odd-schemas/confined-schemas.ts'
import { ODD_SCHEMAS } from '../../odd-schemas/odd-schemas.ts'
import { BUSY, ORPHANING } from '../../odd-schemas/restored-schemas.ts'
import { SYSTEM } from '../../support/backup-services.ts'
import { damageBySteps, deleteTenant, type Step } from '../../support/damage.ts'
import { createTestDatabase } from '../../support/database.ts'
import {
  createRestoreTrial,
  type RestoreTrial,
  type TrialHost,
  trialOf,
} from '../../support/restore-trial.ts'

/** Shapes of every kind; each test run tries some of the many that are known, in turns. */
const KINDS: readonly (readonly TrialHost[])[] = [
  [BUSY],
  [ORPHANING],
  CONFINED_SCHEMAS,
  ODD_SCHEMAS,
]

const STEPS: Step['kind'][] = ['update', 'insert', 'delete', 'swap', 'rekey', 'unset']

/** Backs up two tenants, lets the application write, and drills, again and again; at last without the tenant. */
async function drillAgainAndAgain(
  trial: RestoreTrial,
  { runs, seed, isWritten }: { runs: number; seed: number; isWritten: boolean },
) {
  const verdicts: unknown[] = []
  for (let run = 0; run < runs; run += 1) {
    const isOurs = run % 2 === 0
    const tenantId = isOurs ? trial.tenant : trial.neighbour
    if (run % 8 < 2) {
      await takeBackup(trial.services, { tenantId, backupType: 'manual', actor: SYSTEM })
    }
    if (isWritten && isOurs && run > 0) {
      const kind = STEPS[(seed + run) % STEPS.length] ?? 'update'
      const step = { kind, table: seed + run, column: run, row: run, rows: 2 }
      if (run === runs - 2) await deleteTenant(trial)
      else await damageBySteps(trial, [step])
    }
    const { status, findings } = await drillTenant(trial.services, { tenantId, actor: SYSTEM })
    verdicts.push({ status, findings })
  }
  return verdicts
}

async function trialOfDemo(): Promise<RestoreTrial> {
  const database = await createTestDatabase({ template: 'demo' })
  const { rows } = await database.admin.query<{ id: string }>(
    'select tenant_id as id from tenantkeep.list_tenants() order by tenant_name limit 2',
  )
  return trialOf(database, [rows[0]?.id ?? '', rows[1]?.id ?? ''])
}

test('a hundred clean drills find nothing, whatever the schema and whatever was written since', async () => {
  const seed = Math.floor(Date.now() / 1_000)
  const hosts = KINDS.flatMap((kind) => kind[seed % kind.length] ?? [])
  const trials = await Promise.all([trialOfDemo(), ...hosts.map(createRestoreTrial)])
  const verdicts = await Promise.all(
    trials.map((trial, index) =>
      drillAgainAndAgain(trial, {
        runs: index === 0 ? 12 : 22,
        seed: seed + index,
        isWritten: index > 0,
      }),
    ),
  ).finally(() => Promise.all(trials.map((trial) => trial.drop())))

  const clean = { status: 'passed', findings: [] }
  expect(verdicts.flat(), `seed ${seed}`).toEqual(Array.from({ length: 100 }, () => clean))
}, 240_000)
