import { describeSeedProgress, runSeeding } from '../../src/core/jobs/run-seed.ts'
import { recordingRefusal } from '../../src/core/tenants/record-refusal.ts'
import { handle } from '../../src/http/handle.ts'
import {
  answerSeed,
  describeScope,
  requireMaySeed,
  SeedInput,
  toSeedTask,
} from '../../src/http/seed-answers.ts'
import { wakeBackground } from '../../src/http/wake-background.ts'

/**
 * Seeds tenants with the rows of the template tenant, or rehearses that (`dry_run`, which is true unless
 * told). 200 done, 202 the background goes on, 409 somebody has to decide; `Accept: application/x-ndjson`
 * streams progress.
 */
export default handle({
  name: 'seed-defaults',
  methods: ['POST'],
  input: SeedInput,
  journal: 'seed_defaults',
  allow: ['cron', 'operator', 'user'],
  canStream: true,
  async run({ services, environment, caller, input, startedAt, tell }) {
    const { catalog } = services.tenants
    const ids = input.all === true ? 'all' : (input.organization_ids ?? [])
    const attempt = {
      type: 'seed_defaults' as const,
      actor: caller.actor,
      tenantId: null,
      note: input.note ?? null,
      scope: describeScope(input),
    }
    // What a tenant's seeding ends with is in the journal already; this is what keeps it from beginning.
    const run = await recordingRefusal(catalog, attempt, async () => {
      requireMaySeed(caller, input)
      return runSeeding(services, {
        actor: caller.actor,
        tenantIds: ids,
        task: toSeedTask(input),
        idempotencyKey: input.idempotency_key,
        needsPlan: caller.actor.id !== null,
        time: { startedAt, wake: () => wakeBackground(environment, services.log) },
        onRun: (runId) => tell({ type: 'run', run_id: runId }),
        onProgress: (progress) => tell(describeSeedProgress(ids[0] ?? '', progress)),
      })
    })
    return answerSeed(caller, run)
  },
})
