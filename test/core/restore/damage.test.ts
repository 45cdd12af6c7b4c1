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
import {
  countWrites,
  createRestoreTrial,
  hasRegained,
  hasReleased,
  type RestoreTrial,
} from '../../support/restore-trial.ts'

/** The whole state, whatever marks say: the trail of what happened too. */
const WHOLE = {
  history: 'restore',
  accept_access_changes: true,
  accept_side_effects: true,
} as const

/** The same steps on every schema, so that what fails once fails again. */
function steps(kind: Step['kind'], rows: number, howMany = 12, first = 0): Step[] {
  return Array.from({ length: howMany }, (_, at) => ({
    kind,
    table: first + at,
    column: at * 7,
    row: at,
    rows,
  }))
}

const mixed = (
  ['insert', 'update', 'swap', 'delete', 'rekey', 'unset', 'swap', 'insert'] as const
).flatMap((kind, at) => steps(kind, 1 + (at % 2), 5, at * 5))

type Damage = (trial: Trial) => Promise<unknown>

/** Each is a part of what follows; alone it is easier to find. Two of them for each host, in turn. */
const PARTS: [string, Damage][] = [
  ['one row', damageOneRow],
  [
    'new and missing rows',
    (trial) => damageBySteps(trial, [...steps('delete', 1, 7), ...steps('insert', 3)]),
  ],
  [
    'values swapped and emptied',
    (trial) => damageBySteps(trial, [...steps('swap', 2, 20), ...steps('unset', 1)]),
  ],
  ['primary keys changed', (trial) => damageBySteps(trial, steps('rekey', 2, 24))],
  ['rows moved to a neighbour and back', moveAwayAndBack],
]

function damagesOf(host: number): [string, Damage][] {
  return [
    ['every row', touchEverything],
    ...PARTS.filter((_, part) => host < 2 || part === host % 5 || part === (host + 2) % 5),
    ['the tenant’s own row deleted', deleteRoot],
    ...(host < 4 ? [] : [ALL_GONE]),
  ]
}

const ALL_GONE: [string, Damage] = ['the whole tenant deleted', deleteTenant]

describe.each(RESTORED_SCHEMAS.map((schema, host) => ({ ...schema, host })))('$shape', (schema) => {
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
    if (hasRegained(result)) await trial.restore(backup, WHOLE)
    await original.expectEqual()
    return result
  }

  test.each(damagesOf(schema.host))('%s: comes back, and nothing else moves', async (_, damage) => {
    await damage(trial)
    const damaged = await trial.photographTenant()

    const result = await restoreWhole()

    if (!hasReleased(result)) return
    await trial.undo(result.restoreId)
    await damaged.expectEqual()
    await restoreWhole()
  })

  test.each<[string, Damage]>([
    ['a bit of everything', (given) => damageBySteps(given, mixed)],
    ...(schema.host < 4 ? [ALL_GONE] : []),
  ])(
    '%s: comes back, a second time nothing is written, and it goes away again',
    async (_, damage) => {
      await damage(trial)
      const damaged = await trial.photographTenant()

      const first = await restoreWhole()

      const versions = await readRowVersions(trial.database)
      const second = await trial.restore(backup, WHOLE)
      expect(countWrites(second)).toBe(0)
      expect(await readRowVersions(trial.database)).toEqual(versions)

      if (hasReleased(first)) await trial.undo(first.restoreId)
      else await trial.restore(first.safetyBackupId ?? '', WHOLE)
      await damaged.expectEqual()
    },
  )
})
