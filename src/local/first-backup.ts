import * as z from 'zod'
import { connectDatabase } from '../core/database/connect-database.ts'

const Answer = z.object({
  message: z.string().optional(),
  error: z.object({ message: z.string() }).optional(),
})

/** Calls the real endpoint, as a cron service does. Returns a line that says what it answered. */
export async function takeDailyBackup(
  environment: { APP_URL: string; CRON_SECRET: string },
  signal: AbortSignal,
): Promise<string> {
  const response = await fetch(`${environment.APP_URL}/.netlify/functions/daily-tenant-backup`, {
    method: 'POST',
    headers: { authorization: `Bearer ${environment.CRON_SECRET}` },
    signal,
  })
  const answer = Answer.safeParse(await response.json().catch(() => undefined))
  const said = answer.data?.error?.message ?? answer.data?.message ?? 'no JSON'
  return `daily-tenant-backup answered ${response.status}: ${said}`
}

/** The newest complete backup of every tenant, as lines of a table. */
export async function describeBackups(adminUrl: string): Promise<string[]> {
  const admin = connectDatabase({ url: adminUrl })
  try {
    const { rows } = await admin.query<{ name: string; records: string; size: string }>(
      `select name, records, size from (
         select distinct on (organization_id) organization_name as name, total_records as records,
           total_size as size
         from public.tenant_backups where status = 'complete'
         order by organization_id, created_at desc) newest
       order by records desc`,
    )
    const total = (key: 'records' | 'size') => rows.reduce((sum, row) => sum + Number(row[key]), 0)
    return [
      ...rows.map(({ name, records, size }) => line(name, Number(records), Number(size))),
      line(`${rows.length} tenants`, total('records'), total('size')),
    ]
  } finally {
    await admin.close()
  }
}

function line(name: string, records: number, bytes: number): string {
  const rows = records.toLocaleString('en-US').padStart(9)
  const megabytes = (bytes / 1e6).toFixed(2).padStart(7)
  // Numbers first: names of the world's scripts have no width to count on.
  return `  ${rows} rows ${megabytes} MB  ${name}`
}
