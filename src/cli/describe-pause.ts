import type { PausedTenant } from '../core/tenants/pause-tenant.ts'
import { printable } from './format-text.ts'
import type { CommandResult } from './run-command.ts'

/** How a tenant stands after `pause` or `resume`. */
export function describePause(outcome: PausedTenant, what: string): CommandResult {
  const { tenantId, tenantName, pause, hasChanged } = outcome
  const title = tenantName === null ? tenantId : `${tenantName} (${tenantId})`
  return {
    document: {
      organization_id: tenantId,
      organization_name: tenantName,
      paused: pause,
      has_changed: hasChanged,
    },
    text: `${printable(title)} ${what}.`,
  }
}
