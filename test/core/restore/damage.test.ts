import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import type { RestoreResult } from '../../../src/core/restore/restore-result.ts'
import { RESTORED_SCHEMAS } from '../../odd-schemas/restored-schemas.ts'
import {
  damageBySteps,
  damageOneRow,
  deleteRoot,
  deleteTenant,
  moveAwayAndBack,
  type Step,
  type Trial,
  touchEverything,
} from '../../support/damage.ts'
import { readRowVersions, type TenantPhotograph } from '../../support/expect-others-equal.ts'
import { countWrites, createRestoreTrial, type RestoreTrial } from '../../support/restore-trial.ts'

/** The whole state, whatever marks say: the trail of what happened too. */
const WHOLE = {
  history: 'restore',
  accept_access_changes: true,
  accept_side_effects: true,
} as const

/** The same steps on every schema, so that what fails once fails again. */
function steps(kind: Step['kind'], rows: number, howMany = 12): Step[] {
  return Array.from({ length: howMany }, (_, at) => ({
    kind,
    table: at,
    column: at * 7,
    row: at,
    rows,
  }))
}

const mixed = (
  ['insert', 'update', 'swap', 'delete', 'rekey', 'unset', 'swap', 'insert'] as const
).flatMap((kind, at) => steps(kind, 1 + (at % 2), 7))

type Damage = (trial: Trial) => Promise<unknown>

/** These go all the way: a second restore, the state before back again, and the backup's once more. */
const DEEP: [string, Damage][] = [
  ['every row', touchEverything],
  ['a bit of everything', (trial) => damageBySteps(trial, mixed)],
  ['the tenant’s own row deleted', deleteRoot],
  ['the whole tenant deleted', deleteTenant],
]
/** What these do is done there too; alone, each is easier to find. */
const PLAIN: [string, Damage][] = [
  ['one row', damageOneRow],
  [
    'new and missing rows',
    (trial) => damageBySteps(trial, [...steps('insert', 3), ...steps('delete', 2)]),
  ],
  [
    'values swapped and emptied',
    (trial) => damageBySteps(trial, [...steps('swap', 2, 30), ...steps('unset', 1)]),
  ],
  ['primary keys changed', (trial) => damageBySteps(trial, steps('rekey', 2, 24))],
  ['rows moved to a neighbour and back', moveAwayAndBack],
]

const hasWarning = (result: RestoreResult, warning: RegExp) =>
  result.tables.some(({ warnings }) => warnings.some((text) => warning.test(text)))
const hasRegained = (result: RestoreResult) => hasWarning(result, /become the tenant's again/)
const hasReleased = (result: RestoreResult) => hasWarning(result, /put aside/)

describe.each(RESTORED_SCHEMAS)('$shape', (schema) => {
  let trial: RestoreTrial
  let backup: Backup
  let original: TenantPhotograph
  beforeAll(async () => {
    trial = await createRestoreTrial(schema)
    backup = await trial.backUp()
    original = await trial.photographTenant()
  })
  afterAll(() => trial?.drop())

  async function restoreWhole(): Promise<RestoreResult> {
    const others = await trial.photographOthers()
    const result = await trial.restore(backup, WHOLE)
    await others.expectEqual({ releasedBy: result.restoreId })
    // Rows of nobody that came back with their owner are told, and gone with the next restore.
    if (hasRegained(result)) await trial.restore(backup, WHOLE)
    await original.expectEqual()
    return result
  }

  test.each(PLAIN)('%s: comes back exactly, and nothing else moves', async (_, damage) => {
    await damage(trial)

    await restoreWhole()
  })

  test.each(DEEP)('%s: comes back exactly, there and back', async (_, damage) => {
    await damage(trial)
    const damaged = await trial.photographTenant()

    const first = await restoreWhole()

    const versions = await readRowVersions(trial.database)
    const second = await trial.restore(backup, WHOLE)
    expect(countWrites(second)).toBe(0)
    expect(await readRowVersions(trial.database)).toEqual(versions)

    // What was put aside is in no safety backup; the undo brings it back too.
    if (countWrites(first) === 0) return
    if (hasReleased(first)) await trial.undo(first.restoreId)
    else await trial.restore(first.safetyBackupId ?? '', WHOLE)
    await damaged.expectEqual()
    await restoreWhole()
  })
})
