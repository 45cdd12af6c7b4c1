import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import type { RestoreResult } from '../../../src/core/restore/restore-result.ts'
import { BUSY, RESTORED_SCHEMAS } from '../../odd-schemas/restored-schemas.ts'
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
  refusalOf,
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
).flatMap((kind, at) => steps(kind, 1 + (at % 2), 4, at * 4))

type Damage = (trial: Trial) => Promise<unknown>

/** `EVERY_SCHEMA=1` does to each host all that is done to the first ones. */
const DEEP_HOSTS = process.env.EVERY_SCHEMA === undefined ? 3 : Number.POSITIVE_INFINITY

/** Each is a part of what follows; alone it is easier to find. */
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

/** What goes deep is done to all of the first hosts, and to the others in turn. */
function damagesOf(host: number): [string, Damage][] {
  if (host < DEEP_HOSTS) return [...DEEP, ...PARTS]
  const inTurn = [...DEEP, ALL_GONE]
  return inTurn.filter((_, place) => place === host % inTurn.length)
}

const DEEP: [string, Damage][] = [
  ['every row', touchEverything],
  ['the tenant’s own row deleted', deleteRoot],
]

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
    ...(schema.host < DEEP_HOSTS ? [ALL_GONE] : []),
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

test('what pointed at nothing before does so again, with a warning; what would newly do so is named', async () => {
  const trial = await createRestoreTrial(BUSY)
  onTestFinished(() => trial.drop())
  const unwatched = (sql: string) =>
    trial.database.superuser.withConnection((session) =>
      session.query(
        `set session_replication_role = replica; ${sql}; reset session_replication_role`,
      ),
    )
  await unwatched('update documents set author = 999 where id in (3, 6)')
  const backup = await trial.backUp()
  const original = await trial.photographTenant()
  await trial.damage(`update documents set body = 'spoiled' where org_id = 1`)

  const result = await trial.restore(backup)

  await original.expectEqual()
  expect(result.tables.find(({ name }) => name === 'documents')?.warnings).toEqual([
    expect.stringMatching(/^2 rows point at nothing by documents_author_fkey, as they did before/),
  ])
  await unwatched('delete from documents where id = 3')
  expect((await refusalOf(trial.restore(backup))).blockers).toMatchObject([
    { code: 'missing_reference', constraint: 'documents_author_fkey', count: 1, keys: [['3']] },
  ])
})
