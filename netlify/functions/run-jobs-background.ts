import * as z from 'zod'
import { DEFAULT_CONCURRENCY, workJobs } from '../../src/core/jobs/work-jobs.ts'
import { handle } from '../../src/http/handle.ts'
import { wakeBackground } from '../../src/http/wake-background.ts'

const MINUTE_MS = 60_000

/**
 * Works on queued backups for twelve of the fifteen minutes that the platform gives, then hands over to
 * the next of its kind. May be delivered twice, and side by side.
 */
export default handle({
  name: 'run-jobs-background',
  methods: ['POST'],
  input: z.strictObject({}),
  allow: ['cron', 'operator'],
  async run({ services, environment, startedAt }) {
    const after = (minutes: number) => new Date(startedAt.getTime() + minutes * MINUTE_MS)
    const { settled, left } = await workJobs(services, {
      until: after(12),
      finishBy: after(14),
      cancelAt: after(14.5),
      concurrency: DEFAULT_CONCURRENCY,
    })
    services.log.info({ settled, left }, 'jobs worked')
    if (left > 0 && Date.now() >= after(12).getTime()) {
      await wakeBackground(environment, services.log)
    }
    return { status: 200, body: { success: true, settled, left } }
  },
})
