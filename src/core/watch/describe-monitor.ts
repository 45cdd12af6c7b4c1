import type { Problem } from './find-problems.ts'
import type { MonitorReport } from './monitor.ts'

/** What the monitor answers, over HTTP and as JSON on the command line. */
export function describeMonitor(report: MonitorReport) {
  const { checkedAt, tenants, paused, problems, webhook, ping } = report
  return {
    message:
      problems.length === 0
        ? `All ${tenants.active} active tenants are backed up.`
        : `Problems: ${problems.length}.`,
    checked_at: checkedAt.toISOString(),
    tenants,
    paused: paused.map(({ id, name, skipReason }) => ({
      organization_id: id,
      organization_name: name,
      reason: skipReason,
    })),
    problems: problems.map(describeProblem),
    webhook,
    ping,
  }
}

function describeProblem({ tenantId, tenantName, ...rest }: Problem) {
  const { key, code, severity, table, since, message, remedy } = rest
  return {
    ...{ key, code, severity, organization_id: tenantId, organization_name: tenantName },
    ...{ table, since, message, remedy },
  }
}
