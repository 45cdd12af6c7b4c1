import { readProofSettings } from '../backup/proof-settings.ts'
import { BackupError } from '../errors.ts'
import { interruptible } from '../interruptible.ts'
import type { Services } from '../services.ts'
import { type Announcement, announce } from './announce.ts'
import { callUrl } from './call-url.ts'
import { findProblems, type Problem, problem } from './find-problems.ts'
import { readMonitorSettings } from './monitor-settings.ts'
import { readWatchFacts, type WatchedTenant } from './read-watch-facts.ts'
import { recordAlerts } from './record-alerts.ts'

export interface MonitorReport {
  checkedAt: Date
  tenants: { total: number; active: number; paused: number }
  /** Not watched, each with the reason. */
  paused: Pick<WatchedTenant, 'id' | 'name' | 'skipReason'>[]
  /** Errors first. None: all is well. */
  problems: Problem[]
  webhook: Announcement
  /** Whether whoever watches the monitor heard of it; null where nobody does. */
  ping: 'sent' | 'failed' | null
}

/** What is not there within this time is out of reach. */
const STORE_TIMEOUT_MS = 15_000
const PING_TIMEOUT_MS = 5_000

/**
 * Looks at every active tenant and at what keeps its backups in order, notes what is wrong, tells the webhook
 * what is new, and last tells whoever watches the monitor itself that it ran (`pingUrl`, with `/fail` where
 * something is wrong). A call costs the same few statements however many tenants there are. Throws
 * `not_configured`, `database_unavailable`; then nobody is told, and whoever waits for the ping notices.
 */
export async function monitor(
  services: Services,
  { pingUrl }: { pingUrl?: URL | undefined } = {},
): Promise<MonitorReport> {
  const { catalog } = services.tenants
  const startedAt = Date.now()
  const measures = {
    ...(await readMonitorSettings(catalog)),
    ...(await readProofSettings(catalog)),
  }
  const facts = await readWatchFacts(services)
  const problems = [...(await findUnusableStore(services)), ...findProblems(facts, measures)]
  await recordAlerts(catalog, problems)
  const webhook = await announce(services, { reminderHours: measures.reminder_hours })
  // Not an alert like the others: the one who should hear of it is deaf.
  if (webhook === 'failed') problems.unshift(describeDeafness(facts.watch.untoldSince, facts.now))
  const paused = facts.tenants.filter(({ skipCode }) => skipCode !== null)
  services.log.info(
    {
      phase: 'monitor',
      tenants: facts.tenants.length,
      problems: problems.length,
      duration_ms: Date.now() - startedAt,
    },
    'monitored',
  )
  return {
    checkedAt: facts.now,
    tenants: {
      total: facts.tenants.length,
      active: facts.tenants.length - paused.length,
      paused: paused.length,
    },
    paused: paused.map(({ id, name, skipReason }) => ({ id, name, skipReason })),
    problems,
    webhook,
    ping: await ping(services, pingUrl, problems.length > 0),
  }
}

async function findUnusableStore({ store }: Services): Promise<Problem[]> {
  try {
    await interruptible(store.check(), AbortSignal.timeout(STORE_TIMEOUT_MS))
    return []
  } catch (error) {
    if (!(error instanceof BackupError)) throw error
    const isSlow = error.code === 'backup_timed_out'
    const code = isSlow ? 'store_unavailable' : error.code
    return [
      problem('store_unusable', [code], {
        message: isSlow ? 'The store did not answer for 15 seconds.' : error.message,
        remedy: `See ${code} under «Error codes».`,
      }),
    ]
  }
}

function describeDeafness(untoldSince: string | null, now: Date): Problem {
  return problem('alerts_undelivered', [], {
    since: untoldSince ?? now.toISOString(),
    message:
      'The webhook takes no alerts. What it was to hear is kept, and tried again at each call.',
    remedy: 'Check ALERT_WEBHOOK_URL and whether that service answers.',
  })
}

async function ping(
  { log }: Services,
  url: URL | undefined,
  isFailing: boolean,
): Promise<MonitorReport['ping']> {
  if (url === undefined) return null
  const { isTaken, status } = await callUrl(isFailing ? failingUrl(url) : url, {
    timeoutMs: PING_TIMEOUT_MS,
  })
  if (isTaken) return 'sent'
  log.warn({ status }, 'the ping of the monitor did not arrive')
  return 'failed'
}

function failingUrl(url: URL): URL {
  const failing = new URL(url)
  failing.pathname = `${failing.pathname.replace(/\/+$/, '')}/fail`
  return failing
}
