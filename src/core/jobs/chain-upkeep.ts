import * as z from 'zod'
import type { Queryable } from '../database/database.ts'
import { readSettings } from '../database/read-settings.ts'
import { BackupError } from '../errors.ts'
import type { Services } from '../services.ts'
import { placesOf } from '../store/read-with-copy.ts'
import { UPKEEP_TASKS, type UpkeepTask } from './upkeep.ts'

const ChainSettings = z.object({
  upkeep_after_daily: z.array(z.enum(UPKEEP_TASKS)).default([...UPKEEP_TASKS]),
})

/** Reads what follows a daily run. Throws `not_configured` for a value that makes no sense. */
export async function readUpkeepAfterDaily(database: Queryable): Promise<readonly UpkeepTask[]> {
  return (await readSettings(database, ChainSettings)).upkeep_after_daily
}

/**
 * Opens a run of every task that the setting `upkeep_after_daily` names, for the last day whose daily run has
 * ended: once per task and UTC day, however often and by however many it is called, and none while a run of
 * the task is open; copies only where there is a second place. Gives the number of new ones, which still
 * have to be queued. A setting that makes no sense opens none, and the log says so.
 */
export async function chainUpkeep({ tenants, store, log }: Services): Promise<number> {
  let tasks: readonly UpkeepTask[]
  try {
    tasks = await readUpkeepAfterDaily(tenants.catalog)
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'not_configured') throw error
    log.error({ code: error.code, err: error }, 'no upkeep after the daily run')
    return 0
  }
  const { rowCount } = await tenants.catalog.query(
    `with ended as (
       select r.id, day
       from tenantkeep.runs r, lateral (select (r.created_at at time zone 'utc')::date as day) d
       where r.kind = 'daily_tenant' and r.status <> 'running' and r.created_at > now() - interval '2 days'
       order by day desc, r.created_at limit 1
     )
     insert into tenantkeep.runs (kind, actor_kind, actor_label, idempotency_key, tenant_ids, request)
     select t.task, 'system', 'daily run', concat_ws(':', 'after-daily', t.task, e.day), '{}',
            jsonb_build_object('daily_run_id', e.id)
     from ended e cross join unnest($1::text[]) with ordinality as t (task, rank)
     where not exists (
       select from tenantkeep.runs o
       where o.kind = t.task and o.status = 'running' and o.tenant_ids = '{}'
     )
     order by t.rank
     on conflict do nothing`,
    [tasks.filter((task) => task !== 'copy' || placesOf(store).length > 1)],
  )
  return rowCount
}
