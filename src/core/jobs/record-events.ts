import type { Database } from '../database/database.ts'
import type { RestoreProgress } from '../restore/restore-result.ts'

/** About how often the steps of one phase are kept. */
const EVERY_MS = 1_000

/**
 * Keeps what a run tells while it works, where `get-run` finds it: every change of phase, and of the steps
 * in between the latest, once a second. What can't be written is lost, and the work goes on.
 */
export function recordEvents<Event extends { phase: string } = RestoreProgress>(
  database: Database,
  runId: string,
) {
  let phase: string | undefined
  let latest: Event | undefined
  let timer: NodeJS.Timeout | undefined
  let writing: Promise<void> = Promise.resolve()

  const write = () => {
    clearTimeout(timer)
    timer = undefined
    const event = latest
    latest = undefined
    if (event === undefined) return
    writing = writing.then(() => insertEvent(database, runId, event)).catch(() => {})
  }

  return {
    report(progress: Event) {
      // The last step of the phase before is kept too.
      if (progress.phase !== phase) write()
      latest = progress
      if (progress.phase !== phase) {
        phase = progress.phase
        write()
      } else timer ??= setTimeout(write, EVERY_MS)
    },
    /** Waits for what is being written; to be called before the run is settled. */
    async finish() {
      write()
      await writing
    },
  }
}

async function insertEvent(database: Database, runId: string, event: object): Promise<void> {
  await database.query(
    `with run as (
       update tenantkeep.runs set progress = $2 where id = $1 and status = 'running' returning id
     )
     insert into tenantkeep.run_events (run_id, seq, event)
     select run.id, coalesce((select max(e.seq) from tenantkeep.run_events e where e.run_id = $1), 0) + 1, $2
     from run`,
    [runId, JSON.stringify(event)],
  )
}

export interface RunEvent<Event = RestoreProgress> {
  seq: number
  at: string
  event: Event
}

const MOST_EVENTS = 1_000

/** What a run has told since the event with this number, in order; at most a thousand at a time. */
export async function readEvents<Event = RestoreProgress>(
  database: Database,
  runId: string,
  after: number,
): Promise<RunEvent<Event>[]> {
  const { rows } = await database.query<{ event: RunEvent<Event> }>(
    `select jsonb_build_object('seq', seq, 'at', at, 'event', event) as event
     from tenantkeep.run_events where run_id = $1 and seq > $2 order by seq limit ${MOST_EVENTS}`,
    [runId, after],
  )
  return rows.map((row) => row.event)
}
