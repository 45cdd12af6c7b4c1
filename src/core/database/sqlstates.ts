import { DatabaseError } from 'pg'

/** The SQLSTATEs that this code base looks at, by name. Classes of two letters are matched by `hasSqlstate`. */
const SQLSTATE = {
  connectionException: '08',
  invalidAuthorization: '28',
  invalidCatalogName: '3D000',
  invalidSchemaName: '3F000',
  undefinedTable: '42P01',
  undefinedFunction: '42883',
  undefinedColumn: '42703',
  undefinedObject: '42704',
  dependentObjects: '2BP01',
  insufficientPrivilege: '42501',
  syntaxError: '42601',
  dataException: '22',
  /** The whole class: names that don't exist, types that don't fit, text that can't be read. */
  syntaxOrAccess: '42',
  foreignKeyViolation: '23503',
  uniqueViolation: '23505',
  checkViolation: '23514',
  notNullViolation: '23502',
  exclusionViolation: '23P01',
  serializationFailure: '40001',
  deadlockDetected: '40P01',
  lockNotAvailable: '55P03',
  queryCanceled: '57014',
  adminShutdown: '57P01',
  crashShutdown: '57P02',
  cannotConnectNow: '57P03',
  idleSessionTimeout: '57P05',
  idleInTransactionTimeout: '25P03',
  readOnlyTransaction: '25006',
  tooManyConnections: '53300',
  outOfMemory: '53200',
  diskFull: '53100',
  programLimitExceeded: '54000',
} as const

export type SqlstateName = keyof typeof SQLSTATE

/** The SQLSTATE of an error that Postgres reported, or of its cause; undefined for every other error. */
export function sqlstateOf(error: unknown): string | undefined {
  if (error instanceof DatabaseError) return error.code
  if (error instanceof Error && error.cause !== undefined) return sqlstateOf(error.cause)
  return undefined
}

/** Whether Postgres reported one of the named states (or any state of a named class). */
export function hasSqlstate(error: unknown, ...names: readonly SqlstateName[]): boolean {
  const state = sqlstateOf(error)
  return state !== undefined && names.some((name) => state.startsWith(SQLSTATE[name]))
}
