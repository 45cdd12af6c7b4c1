import { hash } from 'node:crypto'
import type { Queryable } from '../database/database.ts'
import type { Services } from '../services.ts'
import { placesOf } from '../store/read-with-copy.ts'
import { listTenants } from '../tenants/list-tenants.ts'
import {
  decideRetention,
  type RetainableBackup,
  type RetentionDecision,
} from './decide-retention.ts'
import { readErasures } from './erasure-marks.ts'
import {
  parsePolicy,
  type RetentionSettings,
  readRetentionSettings,
  type TenantPolicy,
} from './retention-policy.ts'

/** A complete backup, as far as pruning has to know it. */
export interface PrunableBackup extends RetainableBackup {
  organizationId: string
  status: 'complete'
  storeUrl: string
  objectStamp: string
  summaryPath: string
  summarySha256: string
  /** Stored bytes, shared ones included. */
  totalSize: number
  name: string | null
}

/** What is to become of the backups of one tenant. */
export interface TenantPlan {
  tenantId: string
  tenantName: string | null
  policy: TenantPolicy
  /** The host lists it no more, since then at the latest. */
  departedSince: Date | null
  /** When it was last erased on demand. */
  forgottenAt: Date | null
  backups: PrunableBackup[]
  decisions: RetentionDecision[]
  /** Objects that an earlier run was to remove and that can be removed by now. */
  leftObjects: number
  /** An earlier run ended before its journal row was closed. */
  isUnfinished: boolean
}

/** What holds for every tenant, read once. */
export interface PrunePremises {
  settings: RetentionSettings
  /** By id. Empty where the host lists none at all: then no tenant is taken for gone. */
  hostTenants: ReadonlyMap<string, string | null>
  erasures: ReadonlyMap<string, Date>
}

/** Tenants in one page of the catalog: some ten thousand rows. */
const PAGE = 100

/**
 * Reads what every plan rests on. Throws `not_configured` where a setting makes no sense or no tenant table
 * is known: then nothing at all is to be removed.
 */
export async function readPremises(services: Services): Promise<PrunePremises> {
  const { catalog } = services.tenants
  const settings = await readRetentionSettings(catalog)
  const tenants = await listTenants(catalog)
  return {
    settings,
    hostTenants: new Map(tenants.map(({ id, name }) => [id, name])),
    erasures: await readErasures({ ...services, catalog }),
  }
}

/**
 * Decides about the backups of all tenants, or of one, without touching a store: pages of the catalog, each
 * with a fixed number of queries. What an answer says and what `pruneBackups` does are both made from this.
 */
export async function* planPrune(
  services: Services,
  premises: PrunePremises,
  given: { tenantId?: string | undefined } = {},
): AsyncGenerator<TenantPlan> {
  for await (const page of planPages(services, premises, given)) yield* page
}

/** The same, a page of the catalog at a time, for whoever acts in between. */
export async function* planPages(
  services: Services,
  premises: PrunePremises,
  given: { tenantId?: string | undefined } = {},
): AsyncGenerator<TenantPlan[]> {
  const { catalog } = services.tenants
  const uses = await readUses(catalog)
  let after: string | null = null
  for (;;) {
    const ids: string[] =
      given.tenantId === undefined
        ? await readTenantIds(catalog, after)
        : after === null
          ? [given.tenantId]
          : []
    if (ids.length === 0) return
    yield await planTenants(services, { premises, uses, ids })
    after = ids.at(-1) ?? null
  }
}

/** A digest of what would go, so that whoever approved one plan doesn't get another. */
export function hashPlans(plans: readonly Pick<TenantPlan, 'decisions'>[]): string {
  const expired = plans.flatMap(({ decisions }) => expiredOf(decisions)).sort()
  return hash('sha256', expired.join('\n'), 'hex')
}

/** The ids of those that go. */
export function expiredOf(decisions: readonly RetentionDecision[]): string[] {
  return decisions.filter(({ isKept }) => !isKept).map(({ backupId }) => backupId)
}

/** SQL: the journal row of a removal that was begun and not ended. */
const IS_UNFINISHED = `backup_type in ('prune', 'forget') and status in ('running', 'failed') and details ? 'backup_ids'`

async function readTenantIds(catalog: Queryable, after: string | null): Promise<string[]> {
  const { rows } = await catalog.query<{ id: string }>(
    `select distinct t.id from (
       (select organization_id as id from public.tenant_backups
        where status = 'complete' and ($1::text is null or organization_id > $1)
        group by 1 order by 1 limit ${PAGE})
       union all
       (select tenant_id from tenantkeep.doomed_objects
        where $1::text is null or tenant_id > $1 group by 1 order by 1 limit ${PAGE})
       union all
       (select organization_id from public.backup_logs
        where ${IS_UNFINISHED} and ($1::text is null or organization_id > $1) group by 1 order by 1 limit ${PAGE})
     ) t order by t.id limit ${PAGE}`,
    [after],
  )
  return rows.map(({ id }) => id)
}

interface BackupRow
  extends Omit<
    PrunableBackup,
    'takenAt' | 'recordedAt' | 'totalSize' | 'pin' | 'usedBy' | 'isElsewhere'
  > {
  /** Numbers come as text. */
  totalSize: string
  organizationName: string | null
  takenMs: string
  recordedMs: string
  pinnedBy: string | null
  pinnedByKind: string | null
  pinReason: string | null
}

async function planTenants(
  services: Services,
  {
    premises,
    uses,
    ids,
  }: { premises: PrunePremises; uses: ReadonlyMap<string, string>; ids: readonly string[] },
): Promise<TenantPlan[]> {
  const { catalog } = services.tenants
  const [backups, facts] = await Promise.all([
    readBackups(catalog, ids),
    readTenantFacts(catalog, ids),
  ])
  const stores = new Set(placesOf(services.store).map(({ url }) => url))
  const byTenant = Map.groupBy(backups, ({ organizationId }) => organizationId)
  return ids.map((tenantId) => {
    const rows = byTenant.get(tenantId) ?? []
    const { own, noticedMs, leftObjects, isUnfinished, nowMs } = facts.get(tenantId) ?? {
      own: null,
      noticedMs: null,
      leftObjects: 0,
      isUnfinished: false,
      nowMs: '0',
    }
    const now = new Date(Number(nowMs))
    const policy = own === null ? premises.settings.fallback : parsePolicy(own, 'tenant')
    const isGone = premises.hostTenants.size > 0 && !premises.hostTenants.has(tenantId)
    const departedSince = isGone ? new Date(Number(noticedMs ?? nowMs)) : null
    const forgottenAt = premises.erasures.get(tenantId) ?? null
    const retained = rows.map((row) => toPrunable(row, uses, stores))
    return {
      tenantId,
      tenantName: premises.hostTenants.get(tenantId) ?? rows[0]?.organizationName ?? null,
      policy,
      departedSince,
      forgottenAt,
      backups: retained,
      decisions: decideRetention(retained, {
        policy,
        safetyDays: premises.settings.safetyDays,
        departed:
          departedSince === null
            ? null
            : { since: departedSince, days: premises.settings.departedDays },
        forgottenAt,
        now,
      }),
      leftObjects,
      isUnfinished,
    }
  })
}

function toPrunable(
  row: BackupRow,
  uses: ReadonlyMap<string, string>,
  stores: ReadonlySet<string>,
): PrunableBackup {
  const {
    takenMs,
    recordedMs,
    pinnedBy,
    pinnedByKind,
    pinReason,
    organizationName: _,
    ...rest
  } = row
  return {
    ...rest,
    totalSize: Number(row.totalSize),
    takenAt: new Date(Number(takenMs)),
    recordedAt: new Date(Number(recordedMs)),
    pin:
      pinReason === null
        ? null
        : { isHold: pinnedByKind !== 'user', by: pinnedBy ?? 'Somebody', reason: pinReason },
    usedBy: uses.get(row.id) ?? null,
    isElsewhere: !stores.has(row.storeUrl),
  }
}

async function readBackups(catalog: Queryable, ids: readonly string[]): Promise<BackupRow[]> {
  const { rows } = await catalog.query<BackupRow>(
    `select b.id, b.organization_id as "organizationId", b.organization_name as "organizationName",
       b.backup_type as "backupType", b.status, b.store_url as "storeUrl",
       b.object_stamp as "objectStamp", b.summary_path as "summaryPath",
       b.summary_sha256 as "summarySha256", b.total_size as "totalSize", b.name, b.tags,
       (extract(epoch from b.taken_at) * 1000) as "takenMs",
       (extract(epoch from b.created_at) * 1000) as "recordedMs",
       b.verified_at is not null and b.damaged_at is null as "isGood",
       b.pinned_by as "pinnedBy", b.pinned_by_kind as "pinnedByKind", b.pin_reason as "pinReason"
     from public.tenant_backups b
     where b.organization_id = any ($1) and b.status = 'complete'
     order by b.organization_id, b.created_at desc`,
    [ids],
  )
  return rows
}

interface TenantFacts {
  id: string
  own: unknown
  noticedMs: string | null
  leftObjects: number
  isUnfinished: boolean
  nowMs: string
}

async function readTenantFacts(
  catalog: Queryable,
  ids: readonly string[],
): Promise<Map<string, TenantFacts>> {
  const { rows } = await catalog.query<TenantFacts>(
    `select t.id, p.policy as own, (extract(epoch from d.noticed_at) * 1000) as "noticedMs",
       (extract(epoch from now()) * 1000) as "nowMs",
       coalesce(o.count, 0)::int as "leftObjects",
       exists (select from public.backup_logs where organization_id = t.id and ${IS_UNFINISHED}) as "isUnfinished"
     from unnest($1::text[]) as t (id)
     left join tenantkeep.retention_policies p on p.tenant_id = t.id
     left join tenantkeep.departed_tenants d on d.tenant_id = t.id
     left join (
       select tenant_id, count(*) from tenantkeep.doomed_objects
       where tenant_id = any ($1) and (try_after is null or try_after <= now())
       group by 1
     ) o on o.tenant_id = t.id`,
    [ids],
  )
  return new Map(rows.map((row) => [row.id, row]))
}

/** Whoever asked for work longer ago is dead. */
const LONGEST_WORK = `interval '1 day'`
/** For so long a rehearsed restore can be carried out as approved; a download takes no longer. */
const PLAN_HOLDS = `interval '1 hour'`

/**
 * What works with which backup now, by its id, in words: runs under way or waiting, restores without a run,
 * and plans of restores that can still be approved. Of the given backups only, where some are given.
 */
export async function readUses(
  catalog: Queryable,
  backupIds: readonly string[] | null = null,
): Promise<Map<string, string>> {
  const { rows } = await catalog.query<{ id: string; what: string }>(
    `with used as (
       select u.id, case when r.kind = 'export' then 'it was fetched within the hour'
                         when r.status = 'running' then r.kind || ' under way'
                         else 'a restore was rehearsed from it within the hour' end as what
       from tenantkeep.runs r
       cross join lateral (values
         (r.request ->> 'backup_id'), (r.request ->> 'with_backup_id'), (r.request -> 'task' ->> 'backup_id'),
         ((select l.safety_backup_id::text from public.backup_logs l
           where l.id::text = r.request -> 'task' ->> 'restore_id'))
       ) as u (id)
       where u.id is not null and (
         (r.status = 'running' and r.created_at > now() - ${LONGEST_WORK})
         or (r.kind = 'export' and r.created_at > now() - ${PLAN_HOLDS})
         or (r.status = 'complete' and r.kind in ('restore', 'undo') and r.plan_hash is not null
             and r.request -> 'task' -> 'dry_run' = 'true' and r.finished_at > now() - ${PLAN_HOLDS}))
       union all
       select d.backup_id::text, 'drill under way' from tenantkeep.drills d
       where d.status = 'running' and d.started_at > now() - ${LONGEST_WORK}
       union all
       select u.id::text, l.backup_type || ' under way'
       from public.backup_logs l cross join lateral (values (l.backup_id), (l.safety_backup_id)) as u (id)
       where u.id is not null and l.status = 'running' and l.backup_type in ('restore', 'undo')
         and l.created_at > now() - ${LONGEST_WORK}
     )
     select distinct on (id) id, what from used where $1::text[] is null or id = any ($1) order by id, what`,
    [backupIds],
  )
  return new Map(rows.map(({ id, what }) => [id, what]))
}
