import type { ProtectionOptions } from '../../src/core/tables/initialise-protection.ts'

/** A host of a few tables with one shape that real schemas have, and by hand whose rows are whose. */
export interface OddSchema {
  shape: string
  sql: string
  options: ProtectionOptions
  /** The questions that `init` asks before it was told anything, by their ids. */
  asks: string[]
  /** Ids of two tenants, as text. */
  tenants: readonly [string, string]
  /**
   * By label of every table that holds rows of tenants: a condition on its row `t`, with the tenant's id as
   * text in `$1`. Written by hand, so that nothing of what is tested proves itself.
   */
  owns: Record<string, string>
  /** Labels of tables that we may only read. */
  readOnly?: string[]
}
