import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import * as z from 'zod'
import { connectDatabase } from '../../src/core/database/connect-database.ts'

/** Between two writes, in milliseconds: a busy application, not one that waits for nothing but us. */
const PAUSE_MS = 4

const { url, tenantId, note } = z
  .object({ url: z.string(), tenantId: z.string(), note: z.string() })
  .parse(workerData)

// Writes for a tenant as its application would, in a thread of its own, so that it waits for the
// database alone. Each message asks for the milliseconds of all writes since the last one.
const database = connectDatabase({ url, dataSessions: 1, applicationName: 'bench writer' })
let samples: number[] = []
let isOver = false
parentPort?.on('message', (message) => {
  if (message === 'end') isOver = true
  parentPort?.postMessage(samples)
  samples = []
})

await database.withConnection(async (session) => {
  const { rows: bottles } = await session.query<{ id: string }>(
    'select id from public.bottles where organization_id = $1 order by id limit 100',
    [tenantId],
  )
  for (let turn = 0; !isOver; turn += 1) {
    const bottle = bottles[turn % bottles.length]?.id
    const startedAt = performance.now()
    await session.query('begin')
    await session.query(
      `insert into public.bottle_scans (organization_id, bottle_id, scanned_at, device_serial, note)
       values ($1, $2, now(), 1, $3)`,
      [tenantId, bottle, note],
    )
    await session.query(
      `update public.notifications set read_at = read_at
       where id = (select id from public.notifications where organization_id = $1 limit 1)`,
      [tenantId],
    )
    await session.query('commit')
    samples.push(performance.now() - startedAt)
    await sleep(PAUSE_MS)
  }
})
await database.close()
parentPort?.close()
