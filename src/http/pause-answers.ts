import * as z from 'zod'
import type { PausedTenant } from '../core/tenants/pause-tenant.ts'
import { BackupNote, trimmed } from './daily-answers.ts'
import type { Answer } from './handle.ts'

export const PauseInput = z.strictObject({ organization_id: trimmed(200), reason: trimmed(500) })
export const ResumeInput = z.strictObject({
  organization_id: trimmed(200),
  note: BackupNote.optional(),
})

/** How a tenant stands after `pause-tenant` or `resume-tenant`. */
export function answerPause({ tenantId, tenantName, pause, hasChanged }: PausedTenant): Answer {
  return {
    status: 200,
    body: {
      success: true,
      organization_id: tenantId,
      organization_name: tenantName,
      paused: pause,
      has_changed: hasChanged,
    },
  }
}
