import * as z from 'zod/mini'
import { PAGE_SIZE } from '../backups/read-backups.ts'
import { callFunction, check, count, type PageServices, time } from '../calls/call-function.ts'
import { nameTenant } from '../frame/name-tenant.ts'
import { StateCode } from '../state/read-state.ts'

const ListedTenant = z.pipe(
  z.object({
    organization_id: z.string(),
    organization_name: z.nullable(z.string()),
    is_template: z.boolean(),
    state: z.object({ code: StateCode, reason: z.nullable(z.string()), since: z.nullable(time) }),
    newest_backup: z.nullable(
      z.object({
        created_at: time,
        taken_at: z.nullable(time),
        verified_at: z.nullable(time),
        total_records: z.nullable(count),
        total_bytes: z.nullable(count),
      }),
    ),
    failures_30_days: count,
  }),
  z.transform((tenant) => ({
    id: tenant.organization_id,
    name: nameTenant(tenant.organization_id, tenant.organization_name),
    /** It holds the defaults and is nobody's; it counts in no figure. */
    isTemplate: tenant.is_template,
    state: tenant.state,
    /** The newest complete one; safety backups never count. */
    newestBackup:
      tenant.newest_backup === null
        ? null
        : {
            takenAt: tenant.newest_backup.taken_at ?? tenant.newest_backup.created_at,
            verifiedAt: tenant.newest_backup.verified_at,
            totalRecords: tenant.newest_backup.total_records,
            totalSize: tenant.newest_backup.total_bytes,
          },
    recentFailures: tenant.failures_30_days,
  })),
)
export type ListedTenant = z.infer<typeof ListedTenant>

const Tenants = z.object({
  viewer: z.object({ is_operator: z.boolean() }),
  tenants: z.array(ListedTenant),
  total: count,
  counts: z.record(z.string(), count),
})

interface TenantPage {
  rows: ListedTenant[]
  /** How many the search found, on all pages. */
  total: number
  /** How many of these are in which state. */
  counts: Record<string, number>
  /** Operators pause, resume and prune. */
  isOperator: boolean
}

/** A page of the tenants that somebody may see, those that need attention first; pages count from 1. */
export async function listTenants(
  services: PageServices,
  { search, page }: { search: string; page: number },
  signal: AbortSignal,
): Promise<TenantPage> {
  const answer = await callFunction(
    services,
    'list-tenants',
    {
      limit: PAGE_SIZE,
      cursor: (page - 1) * PAGE_SIZE,
      ...(search === '' ? {} : { search }),
    },
    signal,
  )
  const { tenants: rows, total, counts, viewer } = check(Tenants, answer)
  return { rows, total, counts, isOperator: viewer.is_operator }
}
