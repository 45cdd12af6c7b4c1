import { callFunction, type PageServices } from '../calls/call-function.ts'

/** What the function accepts. */
export const MAX_PAUSE_REASON = 500

/** Stops the daily backups of a tenant; operators only. Throws `RequestFailed`. */
export async function pauseTenant(
  services: PageServices,
  tenantId: string,
  reason: string,
): Promise<void> {
  await callFunction(services, 'pause-tenant', { organization_id: tenantId, reason })
}

/** The daily backups go on. Throws `RequestFailed`. */
export async function resumeTenant(services: PageServices, tenantId: string): Promise<void> {
  await callFunction(services, 'resume-tenant', { organization_id: tenantId })
}
