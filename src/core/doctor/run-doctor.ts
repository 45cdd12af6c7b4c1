import type { SigningKeys } from '../backup/signature.ts'
import type { Database } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { Store } from '../store/store.ts'
import type { CountBudget } from '../tables/count-rows-of-no-tenant.ts'
import { checkFunctions, checkProbe } from './check-access.ts'
import { checkCopies } from './check-copies.ts'
import { checkFiles } from './check-files.ts'
import { checkHostPolicies } from './check-host-policies.ts'
import { checkIndexes } from './check-indexes.ts'
import { checkRights } from './check-rights.ts'
import { checkRoles } from './check-roles.ts'
import { checkRows } from './check-rows.ts'
import { checkSchema } from './check-schema.ts'
import { checkSettings } from './check-settings.ts'
import { checkKnownShape, checkShapeSinceBackup } from './check-shape.ts'
import {
  checkClocks,
  checkEnvironment,
  checkForgotten,
  checkOrphans,
  checkStore,
} from './check-store.ts'
import { checkProtection, checkUnclassified } from './check-tables.ts'
import { checkSilence, checkTriggers } from './check-triggers.ts'
import { checkValues } from './check-values.ts'
import { type Finding, finding } from './finding.ts'

/** What doctor has to look at. At least one of the two logins is there. */
export interface DoctorParts {
  /** As `tenantkeep_worker`. */
  worker: Database | null
  /** As the owner of the schema `tenantkeep`. */
  admin: Database | null
  /** An error is what reading its settings threw. */
  store: Store | BackupError
  signingKeys: SigningKeys | BackupError
  /** Also list the whole store for objects that no backup names. */
  withOrphans?: boolean
  /** How long rows may be counted. */
  budget?: CountBudget
  /** This machine's clock, milliseconds. */
  now?: () => number
  onProgress?: (check: string) => void
}

export interface Diagnosis {
  /** Errors first, then warnings, then notices. */
  findings: Finding[]
  /** Checks that were not made, and why. */
  notChecked: { check: string; reason: string }[]
}

/** A table is given five seconds, all of them a minute. */
const BUDGET: CountBudget = { perTable: 5_000, inAll: 60_000 }

/**
 * Looks at everything that can rot between `init` and the night, and says of each finding what puts it
 * right. Changes nothing, except that it records the counts of rows which lead to no tenant. A check that
 * fails is a finding too; a check that could not be made is listed.
 * Throws `database_unavailable` where the database can't be reached at all.
 */
export async function runDoctor(parts: DoctorParts): Promise<Diagnosis> {
  const { worker, admin } = parts
  const database = admin ?? worker
  if (database === null) throw new BackupError('not_configured', 'No database is given.')
  const store = parts.store instanceof BackupError ? null : parts.store
  const signingKeys = parts.signingKeys instanceof BackupError ? null : parts.signingKeys
  const findings: Finding[] = checkEnvironment(parts)
  const notChecked: Diagnosis['notChecked'] = []

  const run = async (check: string, look: () => Promise<Finding[]>): Promise<Finding[]> => {
    parts.onProgress?.(check)
    const found = await look().catch((error: unknown) => [describeFailure(check, error)])
    findings.push(...found)
    return found
  }
  const skip = (check: string, reason: string) => notChecked.push({ check, reason })

  if (store === null) skip('store', 'No store is configured.')
  else await run('store', () => checkStore(store))

  const blocking = await run('schema', () => checkSchema(database))
  if (blocking.length > 0) {
    skip('tables, roles, rows and everything else in the database', 'The schema comes first.')
    return { findings: sort(findings), notChecked }
  }

  await run('unclassified tables', () => checkUnclassified(database))
  await run('protection', () => checkProtection(database))
  await run('roles', () => checkRoles(database))
  await run('rights', () => checkRights(database))
  await run('host policies', () => checkHostPolicies(database))
  await run('access', () => checkProbe(database))
  await run('functions', () => checkFunctions(database))
  await run('shape', () => checkKnownShape(database))
  await run('shape since the last backup', () =>
    checkShapeSinceBackup(worker ?? database, { store, signingKeys }),
  )
  await run('rows', () => checkRows(worker ?? database, parts.budget ?? BUDGET))
  await run('indexes', () => checkIndexes(database))
  await run('triggers', () => checkTriggers(database))
  await run('silencing triggers', () => checkSilence(worker ?? database))
  await run('values', () => checkValues(database))
  await run('settings', () => checkSettings(worker ?? database))
  await run('clocks', () =>
    checkClocks(worker ?? database, {
      store,
      ...(parts.now === undefined ? {} : { now: parts.now }),
    }),
  )
  await run('files', () => checkFiles(database, store?.url ?? null))

  if (store !== null && signingKeys !== null) {
    const catalog = worker ?? database
    await run('forgotten tenants', () => checkForgotten({ catalog, store, signingKeys }))
    await run('copies', () => checkCopies(catalog, store))
    if (parts.withOrphans === true) {
      await run('objects without a backup', () => checkOrphans(catalog, { store, signingKeys }))
    }
  }

  if (worker === null) {
    skip(
      'the worker’s login',
      'Only the owner’s URL was given: whether the worker can log in is not known.',
    )
  }
  if (admin === null) {
    skip('the number of files in Storage', 'Only the owner may count them (ADMIN_DB_URL).')
  }
  return { findings: sort(findings), notChecked }
}

function describeFailure(check: string, error: unknown): Finding {
  if (error instanceof BackupError && error.code === 'database_unavailable') throw error
  return finding('check_failed', {
    subject: check,
    message: `This could not be checked: ${error instanceof Error ? error.message : 'unknown error'}`,
    remedy: 'TENANTKEEP_DEBUG=1 tenantkeep doctor',
  })
}

const RANK = { error: 0, warning: 1, notice: 2 } as const

function sort(findings: Finding[]): Finding[] {
  return findings.toSorted((a, b) => RANK[a.severity] - RANK[b.severity])
}
