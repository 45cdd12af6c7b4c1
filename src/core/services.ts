import type { Logger } from 'pino'
import type { SigningKeys } from './backup/signature.ts'
import type { Store } from './store/store.ts'
import type { TenantLocator } from './tenants/locate-tenant.ts'

/** What the core needs from outside. Built once per process by the edge that runs it. */
export interface Services {
  tenants: TenantLocator
  /** Where backups are made; with a second place set up, what it can't give is read from there. */
  store: Store
  signingKeys: SigningKeys
  log: Logger
  /** Who hears of problems and of every restore, undo and erasure; a secret. Not set: nobody. */
  alertWebhook?: URL | undefined
}

/** Who did it, as the journal records it. */
export interface Actor {
  kind: 'cron' | 'operator' | 'user' | 'system'
  /** A user's id; null for cron, the operator secret and the system. */
  id: string | null
  /** What people read in the history: an e-mail address or «cron». */
  label: string
}
