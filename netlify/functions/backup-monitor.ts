import * as z from 'zod'
import { describeMonitor } from '../../src/core/watch/describe-monitor.ts'
import { monitor } from '../../src/core/watch/monitor.ts'
import { handle } from '../../src/http/handle.ts'

/** What is wrong with anybody's backups: 200 where nothing is, else 503 with the list. Sends the alerts. */
export default handle({
  name: 'backup-monitor',
  methods: ['GET', 'POST'],
  input: z.strictObject({}),
  allow: ['cron', 'operator'],
  async run({ services, environment }) {
    const report = await monitor(services, { pingUrl: environment.monitorPing })
    const isWell = report.problems.length === 0
    return {
      status: isWell ? 200 : 503,
      body: { success: isWell, ...describeMonitor(report) },
    }
  },
})
