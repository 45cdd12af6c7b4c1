import type { ForgetReport } from './forget-tenant.ts'

/** An erasure, done or only looked at, as answers and `--json` have it. */
export function describeForget(report: ForgetReport) {
  return {
    dry_run: report.isDryRun,
    organization_id: report.tenantId,
    organization_name: report.tenantName,
    backups: report.backups,
    objects: report.objects,
    bytes: report.bytes,
    is_in_host: report.isInHost,
    holds: report.holds.map(({ backupId, by, reason }) => ({ backup_id: backupId, by, reason })),
    locked: report.locked,
    elsewhere: report.elsewhere,
    message: describeInWords(report),
  }
}

function describeInWords(report: ForgetReport): string {
  const { isDryRun, holds, isInHost, locked, elsewhere } = report
  const sentences = [
    isDryRun
      ? 'Every backup of this tenant would be erased, for good.'
      : 'Every backup of this tenant is erased.',
  ]
  if (holds.length > 0) sentences.push('An operator holds a backup, so it can’t be done now.')
  if (isInHost) {
    sentences.push(
      'The application still has this tenant: its next backup begins anew. Pause it to have none taken.',
    )
  }
  for (const { store, objects, until } of locked) {
    sentences.push(
      `${objects} objects in ${store} are locked ${until === null ? 'without an end' : `until ${until}`}; prune removes them then.`,
    )
  }
  for (const { store, objects } of elsewhere) {
    sentences.push(`${objects} in ${store}, which is not set up here: remove those there.`)
  }
  return sentences.join(' ')
}
