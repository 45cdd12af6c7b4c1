/** `error`: backups fail or aren't safe. `warning`: somebody has to act before it bites. `notice`: to know. */
export type Severity = 'error' | 'warning' | 'notice'

/** Everything that doctor can find, with its severity; docs/operations.md says what each means. */
export const FINDINGS = {
  schema_missing: 'error',
  schema_outdated: 'error',
  nothing_protected: 'error',
  table_unclassified: 'error',
  table_gone: 'error',
  row_security_off: 'error',
  table_unhooked: 'error',
  policy_missing: 'error',
  grant_missing: 'error',
  protection_changed: 'error',
  keys_changed: 'warning',
  shape_changed: 'notice',
  schema_changed_since_backup: 'notice',
  role_fault: 'error',
  worker_powerless: 'error',
  temporary_missing: 'error',
  worker_rights: 'warning',
  operator_rights: 'warning',
  rows_opened: 'warning',
  policy_hides_rows: 'error',
  table_not_readable: 'error',
  function_not_executable: 'warning',
  rows_not_countable: 'error',
  rows_not_measured: 'notice',
  rows_without_tenant: 'notice',
  rows_without_tenant_new: 'warning',
  rows_of_two_tenants: 'notice',
  rows_of_two_tenants_new: 'warning',
  index_missing: 'warning',
  trigger_always: 'warning',
  rule_always: 'warning',
  rule_present: 'notice',
  triggers_not_silenced: 'error',
  value_not_exact: 'warning',
  encoding_sql_ascii: 'warning',
  setting_wrong: 'error',
  membership_missing: 'notice',
  not_configured: 'error',
  store_unusable: 'error',
  copy_at_same_service: 'warning',
  copies_missing: 'warning',
  objects_orphaned: 'warning',
  objects_unclear: 'notice',
  forgotten_returned: 'error',
  clock_differs: 'warning',
  files_not_covered: 'notice',
  check_failed: 'error',
} as const satisfies Record<string, Severity>

export type FindingCode = keyof typeof FINDINGS

export interface Finding {
  severity: Severity
  code: FindingCode
  /** What it is about: `public.customers`, `tenantkeep_worker`, `BACKUP_SIGNING_KEY`. */
  subject: string
  message: string
  /** The statement or command that puts it right, as it can be run. */
  remedy: string
}

/** A finding with the severity of its code. */
export function finding(
  code: FindingCode,
  { subject, message, remedy }: { subject: string; message: string; remedy: string },
): Finding {
  return { severity: FINDINGS[code], code, subject, message, remedy }
}
