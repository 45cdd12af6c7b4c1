import type { Database } from '../database/database.ts'

/**
 * Says which database a tenant lives in. Today every tenant shares one; a tenant with a database of
 * its own (or another project) becomes another implementation, and no caller changes.
 */
export interface TenantLocator {
  databaseOf(tenantId: string): Promise<Database>
  /** The database that holds the catalog, the journal and the job queue. */
  readonly catalog: Database
  close(): Promise<void>
}

/** The shared mode: one database for all tenants and for the catalog. */
export function locateInShared(database: Database): TenantLocator {
  return {
    catalog: database,
    databaseOf: async () => database,
    close: () => database.close(),
  }
}
