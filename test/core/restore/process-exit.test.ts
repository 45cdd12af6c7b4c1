import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BackupError } from '../../../src/core/errors.ts'
import type { RunTask } from '../../../src/core/jobs/restore-task.ts'
import { runRestore } from '../../../src/core/jobs/run-restore.ts'
import { SYSTEM } from '../../support/backup-services.ts'
import {
  createRestoreFaultBench,
  RESTORE_OPTIONS,
  type RestoreFaultBench,
} from '../../support/restore-fault-bench.ts'
import type { Order } from '../../support/restore-in-process.ts'

/**
 * The process that restores dies. Whenever it does, the tenant is exactly as before or exactly as after, the
 * journal says which, who asks again with the same key is told, and the next restore and undo work.
 */
let bench: RestoreFaultBench
beforeAll(async () => {
  bench = await createRestoreFaultBench()
})
afterAll(() => bench?.close())

type Death = Pick<Order, 'when' | 'statement' | 'nth'>
interface Left {
  safetyBackup: 'none' | 'failed' | 'complete'
  journal: 'none' | 'failed' | 'complete'
}

const COPYING: Death = { when: 'after', statement: '^with started as', nth: 1 }
const UNRECORDED_SAFETY: Death = { when: 'before', statement: '^with completed as', nth: 1 }
const RECORDING: Death = {
  ...{ when: 'before', statement: '^insert into public.backup_logs as l', nth: 1 },
}
const WRITING: Death = {
  ...{ when: 'after', statement: '^release savepoint tenantkeep_write$', nth: 2 },
}
const COMPLETED: Death = {
  ...{
    when: 'after',
    statement: "^update public.backup_logs l set\\s+status = 'complete'",
    nth: 1,
  },
}
const COMMITTED: Death = { when: 'after', statement: '^commit$', nth: 3 }

function taskOf(kind: 'restore' | 'undo'): RunTask {
  const common = { dry_run: false, plan_hash: null, note: null, samples: 0 }
  if (kind === 'restore') {
    return { kind, backup_id: bench.backup.id, file: null, options: RESTORE_OPTIONS, ...common }
  }
  const restoreId = bench.restoreId()
  if (restoreId === null) throw new Error('There is nothing to undo.')
  return { kind, restore_id: restoreId, everything: false, on_conflict: 'fail', ...common }
}

async function dieInProcess(given: Omit<Order, 'workerUrl' | 'storeUrl' | 'tenantId'>) {
  const order: Order = {
    workerUrl: bench.trial.database.workerUrl,
    storeUrl: bench.trial.store.store.url,
    tenantId: 'alpha',
    ...given,
  }
  const script = new URL('../../support/restore-in-process.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [script, JSON.stringify(order)], { stdio: 'ignore' })
  const [code, signal] = await once(child, 'exit')
  return signal ?? String(code)
}

async function askAgain(idempotencyKey: string, task: RunTask) {
  // As if it were a while ago: a process that has just begun holds no lock yet.
  await bench.trial.database.admin.query(
    `update tenantkeep.runs set created_at = now() - interval '5 minutes' where status = 'running'`,
  )
  try {
    const { runId, status, result } = await runRestore(bench.trial.services, {
      ...{ actor: SYSTEM, tenantId: 'alpha', tenantName: null, task, idempotencyKey },
      ...{ needsPlan: false, time: null },
    })
    return { runId, outcome: status, result }
  } catch (error) {
    if (!(error instanceof BackupError)) throw error
    return { runId: error.details?.run_id, outcome: error.code, result: null }
  }
}

test.each<['restore' | 'undo', string, Order['how'], Death, Left]>(
  (['restore', 'undo'] as const).flatMap((kind) => {
    const [odd, even] =
      kind === 'restore' ? (['kill', 'exit'] as const) : (['exit', 'kill'] as const)
    return [
      [kind, 'the safety backup is copied', odd, COPYING, left('failed', 'none')],
      [kind, 'the safety backup is recorded', even, UNRECORDED_SAFETY, left('failed', 'none')],
      [kind, 'the restore is recorded', odd, RECORDING, left('complete', 'none')],
      [kind, 'all rows are written', even, WRITING, left('complete', 'failed')],
      [kind, 'the commit', odd, COMPLETED, left('complete', 'failed')],
      [kind, 'the answer to the commit is read', even, COMMITTED, left('complete', 'complete')],
    ]
  }),
)('%s: the process dies before %s (%s)', async (kind, _, how, death, { safetyBackup, journal }) => {
  if (bench.isDamaged() !== (kind === 'restore')) await bench.expectNextRunWorks('to begin')
  const { admin } = bench.trial.database
  const idempotencyKey = randomUUID()
  const task = taskOf(kind)

  const end = await dieInProcess({ idempotencyKey, task, how, ...death })

  expect(end).toBe(how === 'kill' ? 'SIGKILL' : '7')
  const found = await bench.expectAsRecorded('after the death')
  expect(found.outcome).toBe(journal === 'complete' ? 'complete' : 'nothing')
  const again = await askAgain(idempotencyKey, task)
  await bench.expectExact({ outcome: 'nothing', restoreId: null }, 'asked again')
  if (journal === 'complete') {
    expect(again).toMatchObject({
      outcome: 'complete',
      result: { restoreId: found.restoreId, warnings: [{ code: 'answer_lost' }] },
    })
  } else {
    expect(again.outcome).toBe('backup_cancelled')
  }
  await bench.expectNextRunWorks('the other way')
  await bench.expectNextRunWorks('and back')
  const { rows: restores } = await admin.query(
    `select status, error_code from public.backup_logs
     where run_id = $1 and backup_type in ('restore', 'undo')`,
    [again.runId],
  )
  expect(restores).toEqual(
    journal === 'none'
      ? []
      : [{ status: journal, error_code: journal === 'failed' ? 'restore_crashed' : null }],
  )
  const { rows: backups } = await admin.query(
    'select backup_type, status from public.tenant_backups where run_id = $1',
    [again.runId],
  )
  expect(backups).toEqual([{ backup_type: 'pre_restore', status: safetyBackup }])
})

function left(safetyBackup: Left['safetyBackup'], journal: Left['journal']): Left {
  return { safetyBackup, journal }
}
