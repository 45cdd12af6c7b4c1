import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import * as z from 'zod'
import type { Backup } from '../../src/core/backup/backup-record.ts'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import { openBackup } from '../../src/core/restore/open-backup.ts'
import { RestoreOptions } from '../../src/core/restore/restore-options.ts'
import { restoreTenant } from '../../src/core/restore/restore-tenant.ts'
import type { Services } from '../../src/core/services.ts'
import { openStore } from '../../src/core/store/open-store.ts'
import { SYSTEM, servicesOf } from '../support/backup-services.ts'
import type { BenchTenant, DataSet } from './data-set.ts'
import { startApiRestorer } from './delete-and-insert.ts'
import { type Figure, figure } from './figure.ts'
import { type KeptTenant, keepTenant } from './kept-tenant.ts'
import { startOtherWriter } from './other-writer.ts'
import { startProcess } from './start-process.ts'
import { wipeAndLoad } from './wipe-and-load.ts'

const ROUNDS = { whole: 5, quick: 2 }
/** How long another tenant's writes are watched while nothing else happens, in milliseconds. */
const QUIET_MS = { whole: 4000, quick: 500 }
/** A tenant that is gone has people that would get access again. */
const OPTIONS = RestoreOptions.parse({ accept_access_changes: true })

interface Bench {
  dataSet: DataSet
  services: Services
  folder: string
  rounds: number
  tell: (line: string) => void
}

/**
 * What a restore costs, against the usual way to do it and against the quickest one that proves nothing.
 * Everything that is compared runs in turn within each round. A dry run does all that a real one does, but
 * for the safety backup, and rolls back: so it is also the time without the safety backup.
 */
export async function benchRestore(
  dataSet: DataSet,
  tell: (line: string) => void,
): Promise<Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-bench-'))
  const worker = connectDatabase({ url: dataSet.workerUrl })
  const store = openStore({ url: pathToFileURL(join(folder, 'store')).href })
  const bench: Bench = {
    dataSet,
    services: servicesOf(worker, store),
    folder,
    rounds: dataSet.isQuick ? ROUNDS.quick : ROUNDS.whole,
    tell,
  }
  try {
    return [...(await benchUsual(bench)), ...(await benchMemory(bench))]
  } finally {
    await worker.close()
    await rm(folder, { recursive: true, force: true })
  }
}

async function benchUsual(bench: Bench): Promise<Figure[]> {
  const { dataSet } = bench
  const kept = await keepTenant(dataSet.superuserUrl, dataSet.tenants.usual.id)
  try {
    const backup = await backUp(bench, dataSet.tenants.usual)
    // Once before, unmeasured: caches, compiled code.
    await kept.damage()
    await restore(bench, backup, { isDryRun: false })
    await kept.settle()
    return [
      ...(await benchDamaged(bench, kept, backup)),
      ...(await benchUnchanged(bench, kept, backup)),
      ...(await benchGone(bench, kept, backup)),
      ...(await benchOthers(bench, kept, backup)),
    ]
  } finally {
    await kept.putBack()
    await kept.close()
  }
}

/** (a) One row in a hundred spoiled, lost or added. */
async function benchDamaged(bench: Bench, kept: KeptTenant, backup: Backup): Promise<Figure[]> {
  const { dataSet, folder, rounds, tell } = bench
  const seconds = {
    dry: [] as number[],
    real: [] as number[],
    wipe: [] as number[],
    api: [] as number[],
  }
  const api = await startApiRestorer(dataSet.superuserUrl, {
    folder,
    tenantId: backup.organizationId,
    tables: kept.tables,
  })
  try {
    for (let round = 1; round <= rounds; round += 1) {
      await damageAnew(kept)
      seconds.dry.push(await time(() => restore(bench, backup, { isDryRun: true })))
      seconds.real.push(await time(() => restore(bench, backup, { isDryRun: false })))
      await kept.requireWhole()
      await damageAnew(kept)
      seconds.wipe.push(await time(() => wipe(bench, backup)))
      await kept.requireWhole()
      await damageAnew(kept)
      seconds.api.push(await time(() => api.restore()))
      await kept.putBack()
      tell(`(a) round ${round} of ${rounds}: ${last(seconds)}`)
    }
  } finally {
    await api.stop()
  }
  const size = dataSet.tenants.usual.rows.toLocaleString('en')
  return [
    figure(`(a) 1 % of ${size} rows damaged: restore`, 's', seconds.real),
    figure('  dry run: no safety backup, rolled back', 's', seconds.dry),
    figure('  delete and insert with supabase-js', 's', seconds.api),
    figure('    against the restore', '×', ratios(seconds.api, seconds.real), { atLeast: 5 }),
    figure('  wipe and load in one transaction', 's', seconds.wipe),
    figure('    against the restore', '×', ratios(seconds.wipe, seconds.real), { atLeast: 1 }),
    figure('    against the dry run', '×', ratios(seconds.wipe, seconds.dry)),
  ]
}

/** (b) Nothing to do. */
async function benchUnchanged(bench: Bench, kept: KeptTenant, backup: Backup): Promise<Figure[]> {
  const { dataSet, rounds, tell } = bench
  const seconds = { backup: [] as number[], dry: [] as number[], real: [] as number[] }
  await kept.settle()
  for (let round = 1; round <= rounds; round += 1) {
    seconds.backup.push(await time(() => backUp(bench, dataSet.tenants.usual)))
    seconds.dry.push(await time(() => restore(bench, backup, { isDryRun: true })))
    seconds.real.push(await time(() => restore(bench, backup, { isDryRun: false })))
    tell(`(b) round ${round} of ${rounds}: ${last(seconds)}`)
  }
  await kept.requireWhole()
  return [
    figure('(b) unchanged: restore', 's', seconds.real),
    figure('  dry run: no safety backup', 's', seconds.dry),
    figure('  a backup without changes', 's', seconds.backup),
    figure('  the restore against the backup', '×', ratios(seconds.real, seconds.backup), {
      atMost: 1.2,
    }),
    figure('  the dry run against the backup', '×', ratios(seconds.dry, seconds.backup)),
  ]
}

/** (c) Every row of the tenant is gone, its own included. */
async function benchGone(bench: Bench, kept: KeptTenant, backup: Backup): Promise<Figure[]> {
  const { rounds, tell } = bench
  const seconds = { dry: [] as number[], real: [] as number[], wipe: [] as number[] }
  for (let round = 1; round <= rounds; round += 1) {
    await eraseAnew(kept)
    seconds.dry.push(await time(() => restore(bench, backup, { isDryRun: true })))
    await kept.settle()
    seconds.real.push(await time(() => restore(bench, backup, { isDryRun: false })))
    await kept.requireWhole()
    await eraseAnew(kept)
    seconds.wipe.push(await time(() => wipe(bench, backup)))
    await kept.requireWhole()
    tell(`(c) round ${round} of ${rounds}: ${last(seconds)}`)
  }
  return [
    figure('(c) all gone: restore', 's', seconds.real),
    figure('  dry run: rolled back', 's', seconds.dry),
    figure('  wipe and load in one transaction', 's', seconds.wipe),
    figure('  the restore against wipe and load', '×', ratios(seconds.real, seconds.wipe), {
      atMost: 1.3,
    }),
    figure('  the dry run against wipe and load', '×', ratios(seconds.dry, seconds.wipe)),
  ]
}

/** Another tenant's writes: alone, beside a backup, beside restores of the damaged and of the lost tenant. */
async function benchOthers(bench: Bench, kept: KeptTenant, backup: Backup): Promise<Figure[]> {
  const { dataSet, rounds, tell } = bench
  const p95 = {
    alone: [] as number[],
    backup: [] as number[],
    damaged: [] as number[],
    gone: [] as number[],
  }
  const longest: number[] = []
  const writer = await startOtherWriter(dataSet.adminUrl, dataSet.tenants.fourfold.id)
  const watch = async (work: () => Promise<unknown>) => {
    await writer.takeSamples()
    await work()
    return writer.takeSamples()
  }
  try {
    for (let round = 1; round <= rounds; round += 1) {
      const quiet = await watch(() => sleep(dataSet.isQuick ? QUIET_MS.quick : QUIET_MS.whole))
      p95.alone.push(percentile(quiet, 0.95))
      const backingUp = await watch(() => backUp(bench, dataSet.tenants.usual))
      p95.backup.push(percentile(backingUp, 0.95))
      await damageAnew(kept)
      const damaged = await watch(() => restore(bench, backup, { isDryRun: false }))
      p95.damaged.push(percentile(damaged, 0.95))
      await eraseAnew(kept)
      const gone = await watch(() => restore(bench, backup, { isDryRun: false }))
      p95.gone.push(percentile(gone, 0.95))
      longest.push(Math.max(...damaged, ...gone))
      tell(`others ${round} of ${rounds}: ${last(p95)}`)
    }
  } finally {
    await writer.stop()
  }
  return [
    figure("another tenant's writes, 95 of 100 within: alone", 'ms', p95.alone),
    figure('  beside a backup', 'ms', p95.backup),
    figure('    against alone', '×', ratios(p95.backup, p95.alone)),
    figure('  beside a restore, 1 % damaged', 'ms', p95.damaged),
    figure('    against alone', '×', ratios(p95.damaged, p95.alone), { atMost: 1.1 }),
    figure('  beside a restore, all gone', 'ms', p95.gone),
    figure('    against alone', '×', ratios(p95.gone, p95.alone), { atMost: 1.1 }),
    figure('  the longest beside a restore', 'ms', longest),
  ]
}

/** The same restore of tenants of two sizes, each in a process of its own. In MB. */
async function benchMemory(bench: Bench): Promise<Figure[]> {
  const { dataSet, rounds, tell } = bench
  const figures: Figure[] = []
  for (const tenant of [dataSet.tenants.tenth, dataSet.tenants.large]) {
    const backup = await backUp(bench, tenant)
    const kept = await keepTenant(dataSet.superuserUrl, tenant.id)
    const samples: number[] = []
    try {
      for (let round = 1; round <= rounds; round += 1) {
        await kept.damage()
        samples.push(await measureMemory(bench, backup))
        await kept.requireWhole()
        tell(`memory ${round} of ${rounds}: ${samples.at(-1)?.toFixed(0)} MB`)
      }
    } finally {
      await kept.putBack()
      await kept.close()
    }
    figures.push(
      figure(`most memory above idle, ${tenant.rows.toLocaleString('en')} rows`, 'MB', samples),
    )
  }
  const [small, large] = figures
  return [
    ...figures,
    figure(
      '  the larger tenant less the smaller',
      'MB',
      (large?.samples ?? []).map((megabytes, round) => megabytes - (small?.samples[round] ?? 0)),
    ),
  ]
}

async function measureMemory(
  { dataSet, services }: Bench,
  { id, organizationId, status, summaryPath, summarySha256 }: Backup,
): Promise<number> {
  const child = await startProcess(new URL('restore-process.ts', import.meta.url), {
    workerUrl: dataSet.workerUrl,
    storeUrl: services.store.url,
    backup: { id, organizationId, status, summaryPath, summarySha256 },
  })
  await child.stop()
  const { idle, peak, written } = z
    .object({ idle: z.number(), peak: z.number(), written: z.int().positive() })
    .parse(JSON.parse(child.line))
  if (written === 0) throw new Error('The restore had nothing to do.')
  return (peak - idle) / 1e6
}

async function damageAnew(kept: KeptTenant): Promise<void> {
  await kept.damage()
  await kept.settle()
}

async function eraseAnew(kept: KeptTenant): Promise<void> {
  await kept.erase()
  await kept.settle()
}

async function restore(
  { services }: Bench,
  backup: Backup,
  { isDryRun }: { isDryRun: boolean },
): Promise<void> {
  const { blockers } = await restoreTenant(services, {
    tenantId: backup.organizationId,
    source: await openBackup(services, backup),
    isDryRun,
    options: OPTIONS,
    actor: SYSTEM,
  })
  const [blocker] = blockers
  if (blocker !== undefined) throw new Error(`A restore was blocked: ${blocker.message}`)
}

async function wipe({ dataSet, services }: Bench, backup: Backup): Promise<void> {
  const worker = connectDatabase({ url: dataSet.workerUrl, dataSessions: 1 })
  try {
    await wipeAndLoad(worker, await openBackup(services, backup), backup.organizationId)
  } finally {
    await worker.close()
  }
}

async function backUp({ services }: Bench, tenant: BenchTenant): Promise<Backup> {
  const { backup } = await takeBackup(services, {
    tenantId: tenant.id,
    backupType: 'manual',
    actor: SYSTEM,
  })
  if (backup.totalRecords !== tenant.rows) {
    throw new Error(`A backup has ${backup.totalRecords} rows, not ${tenant.rows}.`)
  }
  return backup
}

async function time(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return (performance.now() - startedAt) / 1000
}

/** Round by round. */
function ratios(above: readonly number[], below: readonly number[]): number[] {
  return above.map((value, round) => value / (below[round] ?? Number.NaN))
}

function percentile(samples: readonly number[], part: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  return sorted[Math.ceil(sorted.length * part) - 1] ?? Number.NaN
}

function last(samples: Record<string, number[]>): string {
  return Object.entries(samples)
    .map(([name, values]) => `${name} ${values.at(-1)?.toFixed(2)}`)
    .join(', ')
}
