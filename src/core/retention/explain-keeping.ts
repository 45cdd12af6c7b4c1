import { BackupError } from '../errors.ts'
import type { Services } from '../services.ts'
import { listTenants } from '../tenants/list-tenants.ts'
import type { RetentionDecision } from './decide-retention.ts'
import { planPrune } from './plan-prune.ts'
import { readRetentionSettings } from './retention-policy.ts'

/**
 * Why each complete backup of a tenant is kept and until when, or why the next pruning removes it; by its id.
 * A fixed number of queries and no look into a store: an erasure leaves nothing complete behind that would have
 * to be explained. Null where the settings make no sense, since then nothing at all is removed.
 */
export async function explainKeeping(
  services: Services,
  tenantId: string,
): Promise<ReadonlyMap<string, RetentionDecision> | null> {
  const { catalog } = services.tenants
  try {
    const settings = await readRetentionSettings(catalog)
    const tenants = await listTenants(catalog)
    const premises = {
      settings,
      hostTenants: new Map(tenants.map(({ id, name }) => [id, name])),
      erasures: new Map<string, Date>(),
    }
    for await (const { decisions } of planPrune(services, premises, { tenantId })) {
      return new Map(decisions.map((decision) => [decision.backupId, decision]))
    }
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'not_configured') throw error
  }
  return null
}
