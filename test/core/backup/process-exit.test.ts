import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createFaultBench, type FaultBench } from '../../support/fault-bench.ts'
import { ALPHA } from '../../support/small-host.ts'
import type { Order } from '../../support/take-one-backup.ts'

let bench: FaultBench
beforeAll(async () => {
  bench = await createFaultBench()
})
afterAll(() => bench?.close())

async function takeInProcess(order: Pick<Order, 'databaseCall' | 'storeCall'>): Promise<string> {
  const given: Order = {
    workerUrl: bench.database.workerUrl,
    storeUrl: bench.store.store.url,
    tenantId: ALPHA,
    ...order,
  }
  const script = new URL('../../support/take-one-backup.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [script, JSON.stringify(given)], { stdio: 'ignore' })
  const [code, signal] = await once(child, 'exit')
  return signal ?? String(code)
}

/** A process for each call takes its time: every second one, all of them where `EVERY_FAULT` is set. */
const STEP = process.env.EVERY_FAULT === undefined ? 2 : 1

test('the process dies at every call to the database', async () => {
  const { database: probe } = await bench.countCalls()
  for (let call = 1; call <= probe.calls.length; call += STEP) {
    await bench.arrange()
    expect(await takeInProcess({ databaseCall: call, storeCall: null })).toBe('SIGKILL')
    await bench.requireHealthy(`exit at database call ${call}`)
  }
}, 300_000)

test('the process dies at every call to the store', async () => {
  const { store: probe } = await bench.countCalls()
  for (let call = 1; call <= probe.calls.length; call += STEP) {
    await bench.arrange()
    expect(await takeInProcess({ databaseCall: null, storeCall: call })).toBe('SIGKILL')
    await bench.requireHealthy(`exit at store call ${call}`)
  }
}, 300_000)
