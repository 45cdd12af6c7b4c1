import * as z from 'zod'
import { collectMetrics } from '../../src/core/watch/collect-metrics.ts'
import { handle, TextBody } from '../../src/http/handle.ts'

/** What Prometheus reads; with METRICS_TOKEN, which opens nothing else, or as an operator. */
export default handle({
  name: 'backup-metrics',
  methods: ['GET'],
  input: z.strictObject({}),
  allow: ['operator', 'metrics'],
  ownToken: ({ metricsToken }) => metricsToken,
  async run({ services }) {
    const { type, text } = await collectMetrics(services)
    return { status: 200, body: new TextBody(type, text) }
  },
})
