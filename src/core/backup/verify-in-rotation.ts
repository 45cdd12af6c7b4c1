import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { interruptible } from '../interruptible.ts'
import { holdRotation } from '../jobs/hold-rotation.ts'
import type { UpkeepInput, UpkeepReport } from '../jobs/upkeep.ts'
import type { Services } from '../services.ts'
import { placesOf } from '../store/read-with-copy.ts'
import { isWithin } from './backup-record.ts'
import { readProofSettings } from './proof-settings.ts'
import { verifyBackup } from './verify-backup.ts'

/** How long a proof is good for: what was read back whole in these days is left alone, however large the budget. */
const PROOF_DAYS = 7
const BATCH = 100
/** Of a store that fails again and again, nothing more is asked. */
const FAILURES_IN_A_ROW = 3
/** Names of parts that were found whole, some hundred bytes each. */
const MOST_WHOLE = 20_000

interface Round {
  services: Services
  input: UpkeepInput
  budget: number
  /** Looked at by this call, whatever came of it. */
  seen: Set<string>
  whole: Set<string>
  verified: number
  damaged: string[]
  /** Damaged in one place, and whole in another or in all of them together. */
  harmed: { backup_id: string; whole_in: string[] }[]
  unreadable: { backup_id: string; code: string }[]
  bytes: number
}

/**
 * Reads complete backups of all tenants back, the oldest proof first, until the day's budget of bytes is used
 * up (`verify_bytes_per_day`, UTC, the database's clock, counted from what was read). A new backup was read back
 * when it was made; one whose last proof is younger than a week is not due, unless another one of the same
 * tenant turned out to be damaged since, because they share objects. Safety backups and pinned ones take their
 * turns like all others. Each backup comes up once a day at most. Only one call at a time does anything; the
 * budget is exceeded by no more than the backup that it ends in. Throws `bucket_missing`,
 * `store_unavailable` and `not_configured`.
 */
export async function verifyInRotation(
  services: Services,
  input: UpkeepInput,
): Promise<UpkeepReport> {
  const { catalog } = services.tenants
  const { verify_bytes_per_day: budget } = await readProofSettings(catalog)
  if (budget === 0) return { done: 0, failed: 0, left: 0, details: { is_off: true } }
  await services.store.check()
  return holdRotation(catalog, 'verify', async () => {
    const round: Round = {
      services,
      input,
      budget,
      seen: new Set(),
      whole: new Set(),
      verified: 0,
      damaged: [],
      harmed: [],
      unreadable: [],
      bytes: 0,
    }
    await goRound(round)
    const left = (await isUsedUp(round)) ? 0 : await countDue(round)
    return {
      done: round.verified - round.harmed.length,
      failed: round.damaged.length + round.harmed.length + round.unreadable.length,
      left,
      hasSettledFailures: round.damaged.length + round.harmed.length > 0,
      details: {
        verified: round.verified,
        damaged: round.damaged,
        damaged_in_one_place: round.harmed,
        unreadable: round.unreadable,
        bytes: round.bytes,
      },
    }
  })
}

async function goRound(round: Round): Promise<void> {
  let failures = 0
  for (;;) {
    const due = await findDue(round)
    if (due.length === 0) return
    for (const id of due) {
      if (isOver(round) || (await isUsedUp(round))) return
      const outcome = await verifyOne(round, id)
      failures = outcome === 'unreadable' ? failures + 1 : 0
      if (failures === FAILURES_IN_A_ROW) return
      round.input.tell?.({
        verified: round.verified,
        damaged: round.damaged.length,
        bytes: round.bytes,
      })
      // Others of the tenant come first now.
      if (outcome === 'damaged') break
    }
  }
}

async function verifyOne(
  round: Round,
  id: string,
): Promise<'whole' | 'damaged' | 'unreadable' | 'gone'> {
  const { services, input } = round
  const { catalog } = services.tenants
  round.seen.add(id)
  if (round.whole.size > MOST_WHOLE) round.whole.clear()
  let bytes = 0
  try {
    const { isIntact, isUsable, wholeIn } = await verifyBackup(services, id, {
      actor: input.actor,
      runId: input.runId,
      whole: round.whole,
      onRead: (read) => {
        bytes += read
      },
      signal: input.signal,
    })
    if (!isUsable) {
      round.damaged.push(id)
      return 'damaged'
    }
    if (!isIntact) round.harmed.push({ backup_id: id, whole_in: wholeIn })
    round.verified += 1
    return 'whole'
  } catch (error) {
    if (input.signal?.aborted === true) return 'gone'
    if (!(error instanceof BackupError)) throw error
    // Pruned or erased since it was found to be due.
    if (error.code === 'backup_not_found' || error.code === 'backup_incomplete') return 'gone'
    services.log.warn({ err: error, backupId: id }, 'A backup could not be read back')
    round.unreadable.push({ backup_id: id, code: error.code })
    await catalog.query(
      'update public.tenant_backups set checked_at = clock_timestamp() where id = $1',
      [id],
    )
    return 'unreadable'
  } finally {
    round.bytes += bytes
    await countBytes(catalog, bytes)
  }
}

function isOver({ input }: Round): boolean {
  return input.signal?.aborted === true || Date.now() >= input.until.getTime()
}

/**
 * «Due»: complete, in this store, not read today, and proven longer ago than a proof is good for, or than
 * damage was found in a backup of the same tenant; those first, as they may share what is damaged.
 */
const DUE = `
  from public.tenant_backups b
  left join (
    select organization_id, max(damaged_at) as found_at from public.tenant_backups
    where status = 'complete' and damaged_at is not null group by organization_id
  ) damage on damage.organization_id = b.organization_id and damage.found_at > b.verified_at
    and b.damaged_at is null
  where b.status = 'complete' and b.pruned_at is null and ${isWithin('b', '$1')} and b.id <> all ($2::uuid[])
    and (b.verified_at < now() - interval '${PROOF_DAYS} days' or damage.found_at is not null)
    and (b.checked_at is null or b.checked_at < date_trunc('day', now(), 'utc')
      or b.checked_at < damage.found_at)`

function urlsOf({ store }: Services): string[] {
  return placesOf(store).map(({ url }) => url)
}

async function findDue({ services, seen, input }: Round): Promise<string[]> {
  const { rows } = await interruptible(
    services.tenants.catalog.query<{ id: string }>(
      `select b.id ${DUE}
       order by damage.found_at is null, greatest(b.verified_at, b.checked_at), b.created_at, b.id
       limit ${BATCH}`,
      [urlsOf(services), [...seen]],
    ),
    input.signal,
  )
  return rows.map(({ id }) => id)
}

async function countDue({ services, seen }: Round): Promise<number> {
  const { rows } = await services.tenants.catalog.query<{ count: string }>(
    `select count(*) as count ${DUE}`,
    [urlsOf(services), [...seen]],
  )
  return Number(rows[0]?.count)
}

async function isUsedUp({ services, budget }: Round): Promise<boolean> {
  const { rows } = await services.tenants.catalog.query<{ bytes: string }>(
    `select bytes from tenantkeep.verified_bytes where day = (now() at time zone 'utc')::date`,
  )
  return Number(rows[0]?.bytes ?? 0) >= budget
}

async function countBytes(catalog: Queryable, bytes: number): Promise<void> {
  await catalog.query(
    `insert into tenantkeep.verified_bytes as v (day, bytes)
     values ((now() at time zone 'utc')::date, $1)
     on conflict (day) do update set bytes = v.bytes + excluded.bytes`,
    [bytes],
  )
}
