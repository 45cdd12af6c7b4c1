import { type ChildProcess, spawn } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Services } from '../../src/core/services.ts'
import { openStores } from '../../src/core/store/open-store.ts'
import { initialiseProtection } from '../../src/core/tables/initialise-protection.ts'
import { createTestStore, servicesOf, type TestStore } from './backup-services.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'

export interface Shops {
  database: TestDatabase
  store: TestStore
  /** The second place; `copying` is the same with it. */
  copy: TestStore
  services: Services
  copying: Services
  /** Makes so many shops with three sales each, in place of those there are. */
  make(count: number): Promise<void>
  ask<T>(sql: string, params?: unknown[]): Promise<T[]>
  set(key: string, value: unknown): Promise<void>
  /** As on the first day: no backups, no runs, no jobs. */
  forget(): Promise<void>
  /** As if half a minute went by without a sign of whoever works on a job. */
  letHeartbeatsExpire(): Promise<void>
  /** As if the wait before the next attempt was over. */
  endWaits(): Promise<void>
  /** A worker in a process of its own, with both places where it is to copy; `close` kills it where nobody did. */
  startWorker(concurrency: number, options?: { copies?: boolean }): ChildProcess
  killWorkers(): void
  close(): Promise<void>
}

/** A host of shops under protection, for tests of the job machinery. */
export async function createShops(): Promise<Shops> {
  const database = await createTestDatabase()
  const store = await createTestStore()
  const copy = await createTestStore()
  const children: ChildProcess[] = []
  const { admin } = database

  const shops: Shops = {
    database,
    store,
    copy,
    services: servicesOf(database.worker, store.store),
    copying: servicesOf(
      database.worker,
      openStores({ url: store.store.url }, { url: copy.store.url }),
    ),
    async make(count) {
      await admin.query('delete from public.sales')
      await admin.query('delete from public.shops')
      await admin.query(
        `insert into public.shops select i, 'Shop ' || i from generate_series(1, $1::int) i`,
        [count],
      )
      await admin.query(
        `insert into public.sales (shop_id, amount) select s.id, i from public.shops s, generate_series(1, 3) i`,
      )
    },
    async ask<T>(sql: string, params: unknown[] = []) {
      return (await admin.query<T>(sql, params)).rows
    },
    async set(key, value) {
      await admin.query(
        `insert into tenantkeep.settings (key, value) values ($1, $2)
         on conflict (key) do update set value = excluded.value`,
        [key, JSON.stringify(value)],
      )
    },
    async forget() {
      for (const { folder } of [store, copy]) {
        await rm(join(folder, 'tenant-backups'), { recursive: true, force: true })
      }
      await admin.query('delete from tenantkeep.run_tenants')
      await admin.query(
        'truncate public.backup_logs, public.tenant_backups, tenantkeep.runs, tenantkeep_jobs.job cascade',
      )
    },
    async letHeartbeatsExpire() {
      await admin.query(
        `update tenantkeep_jobs.job set heartbeat_on = now() - interval '1 minute' where state = 'active'`,
      )
      // Nobody looked after the queue a moment ago.
      await admin.query(
        'update tenantkeep_jobs.queue set monitor_on = null, monitor_claim_on = null',
      )
    },
    async endWaits() {
      await admin.query(`update tenantkeep_jobs.job set start_after = now() where state = 'retry'`)
    },
    startWorker(concurrency, { copies = false } = {}) {
      const child = spawn(
        process.execPath,
        [
          fileURLToPath(new URL('../core/jobs/worker-process.ts', import.meta.url)),
          ...[database.workerUrl, store.store.url, String(concurrency)],
          ...(copies ? [copy.store.url] : []),
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      )
      children.push(child)
      return child
    },
    killWorkers() {
      for (const child of children.splice(0)) child.kill('SIGKILL')
    },
    async close() {
      shops.killWorkers()
      await database.drop()
      await store.remove()
      await copy.remove()
    },
  }

  await admin.withConnection(async (session) => {
    await session.query(`
      create table public.shops (id integer primary key, name text not null);
      create table public.sales (
        id bigint generated always as identity primary key,
        shop_id integer not null references public.shops (id),
        amount numeric not null
      );
      create index on public.sales (shop_id)`)
  })
  await shops.make(3)
  const report = await initialiseProtection(admin, {
    tenantTable: 'public.shops',
    tenantColumns: ['shop_id'],
    enableRowSecurity: true,
  })
  if (!report.isApplied) throw new Error(JSON.stringify(report.unsettled))
  return shops
}

export const soon = (seconds: number) => new Date(Date.now() + seconds * 1_000)

/** Waits for something that another process or session brings about. */
export async function until(
  condition: () => Promise<boolean>,
  { seconds = 30, everyMs = 50 } = {},
): Promise<void> {
  const end = Date.now() + seconds * 1_000
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('It did not come about in time.')
    await sleep(everyMs)
  }
}
