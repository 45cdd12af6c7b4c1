/**
 * Every way in which Tenantkeep can say no. `status` is the HTTP status at the edge; `retry` tells
 * whether the same request may succeed later without anybody changing anything.
 */
export const ERRORS = {
  invalid_request: { status: 400, retry: false },
  secret_in_query: { status: 400, retry: false },
  not_signed_in: { status: 401, retry: false },
  not_allowed: { status: 403, retry: false },
  tenant_not_found: { status: 404, retry: false },
  backup_not_found: { status: 404, retry: false },
  run_not_found: { status: 404, retry: false },
  method_not_allowed: { status: 405, retry: false },
  tenant_busy: { status: 409, retry: true },
  backup_incomplete: { status: 409, retry: false },
  restore_not_found: { status: 404, retry: false },
  tenant_changing: { status: 409, retry: true },
  table_busy: { status: 409, retry: true },
  plan_stale: { status: 409, retry: false },
  plan_required: { status: 409, retry: false },
  schema_changed: { status: 409, retry: false },
  restore_blocked: { status: 409, retry: false },
  restore_too_long: { status: 409, retry: false },
  undo_impossible: { status: 409, retry: false },
  seed_conflict: { status: 409, retry: false },
  seed_blocked: { status: 409, retry: false },
  tenant_held: { status: 409, retry: false },
  tenant_forgotten: { status: 410, retry: false },
  prune_unsafe: { status: 500, retry: false },
  row_changed: { status: 409, retry: false },
  backup_damaged: { status: 422, retry: false },
  row_outside_tenant: { status: 422, retry: false },
  archive_unreadable: { status: 422, retry: false },
  rows_hidden: { status: 500, retry: false },
  confinement_broken: { status: 500, retry: false },
  registry_changed: { status: 500, retry: true },
  row_too_large: { status: 500, retry: false },
  encoding_not_exact: { status: 500, retry: false },
  backup_cancelled: { status: 500, retry: true },
  backup_timed_out: { status: 500, retry: true },
  table_locked: { status: 503, retry: true },
  not_configured: { status: 503, retry: false },
  schema_missing: { status: 503, retry: false },
  schema_outdated: { status: 503, retry: false },
  auth_unavailable: { status: 503, retry: true },
  store_unavailable: { status: 503, retry: true },
  bucket_missing: { status: 503, retry: false },
  bucket_public: { status: 503, retry: false },
  object_missing: { status: 500, retry: false },
  object_exists: { status: 500, retry: false },
  path_refused: { status: 500, retry: false },
  database_unavailable: { status: 503, retry: true },
  answers_needed: { status: 400, retry: false },
  internal: { status: 500, retry: false },
} as const satisfies Record<string, { status: number; retry: boolean }>

export type ErrorCode = keyof typeof ERRORS

/** Facts that may leave the house: names of tables, counts, ids. Never row values or secrets. */
export type ErrorDetails = Record<string, unknown>

/**
 * The one error class of this code base. `message` says what failed, on what, and what to do next;
 * it never holds row values, SQL parameters or secrets. What is unknown stays in `cause`, for the log.
 */
export class BackupError extends Error {
  override readonly name = 'BackupError'
  readonly code: ErrorCode
  readonly details: ErrorDetails | undefined

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: ErrorDetails } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details
  }

  get status(): number {
    return ERRORS[this.code].status
  }

  get canRetry(): boolean {
    return ERRORS[this.code].retry
  }
}
