import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { connectDatabase } from '../../src/core/database/connect-database.ts'

/** Another tenant's application, which writes all the time. */
export interface OtherWriter {
  /** Milliseconds of each write since the last call. */
  takeSamples(): Promise<number[]>
  /** Ends it and removes what it wrote. */
  stop(): Promise<void>
}

const NOTE = 'written by the benchmark'

export async function startOtherWriter(url: string, tenantId: string): Promise<OtherWriter> {
  const thread = new Worker(new URL('writer-thread.ts', import.meta.url), {
    workerData: { url, tenantId, note: NOTE },
  })
  const ask = async (message: 'samples' | 'end') => {
    const answer = once(thread, 'message')
    thread.postMessage(message)
    const [samples] = await answer
    return samples as number[]
  }
  return {
    takeSamples: () => ask('samples'),
    async stop() {
      const isOver = once(thread, 'exit')
      await ask('end')
      await isOver
      const database = connectDatabase({ url, dataSessions: 1 })
      try {
        await database.query(
          'delete from public.bottle_scans where organization_id = $1 and note = $2',
          [tenantId, NOTE],
        )
      } finally {
        await database.close()
      }
    },
  }
}
