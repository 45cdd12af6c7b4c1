import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import * as z from 'zod'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import type { Database } from '../../src/core/database/database.ts'
import { openStore } from '../../src/core/store/open-store.ts'
import type { Store } from '../../src/core/store/store.ts'
import { SYSTEM, servicesOf } from '../support/backup-services.ts'
import type { BenchTenant, DataSet } from './data-set.ts'
import { type Figure, figure } from './figure.ts'
import { ForgetfulStore } from './forgetful-store.ts'
import { startPageReader } from './page-by-page.ts'
import { readFloor } from './read-floor.ts'
import { startProcess } from './start-process.ts'

const ROUNDS = { whole: 5, quick: 2 }
const WORKERS = [1, 2, 4]

/**
 * What a backup costs, against the cheapest and against the usual way to read the same rows. Everything that
 * is compared runs in turn within each round, so that a busy machine slows down both sides.
 */
export async function benchBackup(
  dataSet: DataSet,
  tell: (line: string) => void,
): Promise<Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-bench-'))
  const worker = connectDatabase({ url: dataSet.workerUrl, dataSessions: Math.max(...WORKERS) })
  try {
    const stores = openStores(folder)
    return [
      ...(await benchOneTenant(dataSet, worker, { folder, stores, tell })),
      ...(await benchMemory(dataSet, { stores, tell })),
      ...(await benchSmallTenants(dataSet, worker, { stores, tell })),
    ]
  } finally {
    await worker.close()
    await rm(folder, { recursive: true, force: true })
  }
}

/** A new, empty directory store each time. */
function openStores(folder: string): () => Store {
  let count = 0
  return () => openStore({ url: pathToFileURL(join(folder, `store-${++count}`)).href })
}

async function benchOneTenant(
  { tenants, superuserUrl, isQuick }: DataSet,
  worker: Database,
  { folder, stores, tell }: { folder: string; stores: () => Store; tell: (line: string) => void },
): Promise<Figure[]> {
  const rounds = isQuick ? ROUNDS.quick : ROUNDS.whole
  const { usual, fourfold } = tenants
  const pages = await startPageReader(superuserUrl, join(folder, 'api-storage'))
  const seconds = {
    floor: [] as number[],
    first: [] as number[],
    changed: [] as number[],
    same: [] as number[],
    fourfold: [] as number[],
    pages: [] as number[],
  }
  const uploads: number[] = []
  try {
    // Once before, unmeasured: caches, compiled code, the last backup of the tenant of four times the rows.
    const fourfoldStore = stores()
    await readFloor(worker, fourfold.id)
    await backUp(worker, fourfoldStore, fourfold)
    await backUp(worker, stores(), usual)
    for (let round = 1; round <= rounds; round += 1) {
      const store = stores()
      seconds.floor.push(await time(() => readFloor(worker, usual.id)))
      seconds.first.push(await time(() => backUp(worker, store, usual)))
      seconds.changed.push(await time(() => backUp(worker, new ForgetfulStore(store), usual)))
      const before = await countTableFiles(store)
      seconds.same.push(await time(() => backUp(worker, store, usual)))
      uploads.push((await countTableFiles(store)) - before)
      seconds.fourfold.push(
        await time(() => backUp(worker, new ForgetfulStore(fourfoldStore), fourfold)),
      )
      seconds.pages.push(await time(() => pages.backUp(usual.id, stores())))
      tell(
        `round ${round} of ${rounds}: ${Object.entries(seconds)
          .map(([name, samples]) => `${name} ${samples.at(-1)?.toFixed(2)}`)
          .join(', ')} s`,
      )
    }
  } finally {
    await pages.stop()
  }
  const size = usual.rows.toLocaleString('en')
  return [
    figure(`copy (select *) of ${size} rows: the floor`, 's', seconds.floor),
    figure(`backup of ${size} rows, every part changed`, 's', seconds.changed),
    figure('  against the floor', '×', ratios(seconds.changed, seconds.floor), { atMost: 1.8 }),
    figure(`backup of ${size} rows, the first, with proof of the encoding`, 's', seconds.first),
    figure('  against the floor', '×', ratios(seconds.first, seconds.floor)),
    figure('backup without changes', 's', seconds.same),
    figure('  table files uploaded', 'objects', uploads, { atMost: 0 }),
    figure('page by page with supabase-js', 's', seconds.pages),
    figure(
      '  against a backup with every part changed',
      '×',
      ratios(seconds.pages, seconds.changed),
      {
        atLeast: 10,
      },
    ),
    figure(`backup of ${fourfold.rows.toLocaleString('en')} rows`, 's', seconds.fourfold),
    figure('  against a fourth of the rows', '×', ratios(seconds.fourfold, seconds.changed), {
      atMost: 4.4,
    }),
  ]
}

async function benchMemory(
  { tenants, workerUrl, isQuick }: DataSet,
  { stores, tell }: { stores: () => Store; tell: (line: string) => void },
): Promise<Figure[]> {
  const rounds = isQuick ? ROUNDS.quick : ROUNDS.whole
  const megabytes = new Map<BenchTenant, number[]>([
    [tenants.tenth, []],
    [tenants.large, []],
  ])
  for (let round = 1; round <= rounds; round += 1) {
    for (const [tenant, samples] of megabytes) {
      samples.push(await measureMemory(workerUrl, stores(), tenant))
    }
    const last = [...megabytes.values()].map((samples) => samples.at(-1)?.toFixed(0))
    tell(`memory ${round} of ${rounds}: ${last.join(', ')} MB`)
  }
  return [...megabytes].map(([tenant, samples]) =>
    figure(`most memory above idle, ${tenant.rows.toLocaleString('en')} rows`, 'MB', samples, {
      atMost: 120,
    }),
  )
}

/** The first backup in a process of its own: the one that also proves the encoding. In MB. */
async function measureMemory(
  workerUrl: string,
  store: Store,
  tenant: BenchTenant,
): Promise<number> {
  const child = await startProcess(new URL('backup-process.ts', import.meta.url), {
    workerUrl,
    storeUrl: store.url,
    tenantId: tenant.id,
  })
  await child.stop()
  const { idle, peak, rows } = z
    .object({ idle: z.number(), peak: z.number(), rows: z.number() })
    .parse(JSON.parse(child.line))
  requireRows(rows, tenant)
  return (peak - idle) / 1e6
}

/** Each slice of the tenants is backed up by 1, 2 and 4 at a time, in an order that changes. */
async function benchSmallTenants(
  { tenants: { small }, isQuick }: DataSet,
  worker: Database,
  { stores, tell }: { stores: () => Store; tell: (line: string) => void },
): Promise<Figure[]> {
  const rounds = isQuick ? ROUNDS.quick : ROUNDS.whole
  const store = stores()
  await backUpAll(worker, store, small, 2)
  const perSecond = new Map(WORKERS.map((workers) => [workers, [] as number[]]))
  for (let slice = 0; slice < rounds; slice += 1) {
    const tenants = small.filter((_, index) => index % rounds === slice)
    for (let turn = 0; turn < WORKERS.length; turn += 1) {
      const workers = WORKERS[(slice + turn) % WORKERS.length] ?? 1
      const seconds = await time(() =>
        backUpAll(worker, new ForgetfulStore(store), tenants, workers),
      )
      perSecond.get(workers)?.push(tenants.length / seconds)
    }
    tell(`small tenants ${slice + 1} of ${rounds}`)
  }
  return [...perSecond].map(([workers, samples]) =>
    figure(
      `${small.length} tenants of ${small[0]?.rows} rows, ${workers === 1 ? '1 worker' : `${workers} workers`}`,
      'tenants/s',
      samples,
    ),
  )
}

async function backUpAll(
  worker: Database,
  store: Store,
  tenants: readonly BenchTenant[],
  workers: number,
): Promise<void> {
  const left = [...tenants]
  const work = async () => {
    for (let tenant = left.shift(); tenant !== undefined; tenant = left.shift()) {
      await backUp(worker, store, tenant)
    }
  }
  await Promise.all(Array.from({ length: workers }, work))
}

async function backUp(worker: Database, store: Store, tenant: BenchTenant): Promise<void> {
  const { backup } = await takeBackup(servicesOf(worker, store), {
    tenantId: tenant.id,
    backupType: 'manual',
    actor: SYSTEM,
  })
  requireRows(backup.totalRecords, tenant)
}

/** A figure about the wrong rows would be none. */
function requireRows(rows: number | null, tenant: BenchTenant): void {
  if (rows !== tenant.rows) throw new Error(`A backup has ${rows} rows, not ${tenant.rows}.`)
}

async function countTableFiles(store: Store): Promise<number> {
  const objects = await store.list('tenant-backups/')
  return objects.filter(({ path }) => path.endsWith('.json.gz')).length
}

async function time(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return (performance.now() - startedAt) / 1000
}

/** Round by round. */
function ratios(above: readonly number[], below: readonly number[]): number[] {
  return above.map((seconds, round) => seconds / (below[round] ?? Number.NaN))
}
