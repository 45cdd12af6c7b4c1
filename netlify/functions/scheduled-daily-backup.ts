import { callOnSchedule } from '../../src/http/call-on-schedule.ts'

/** Fires the daily backup by Netlify's own clock, once a day; off unless `NETLIFY_SCHEDULE=on`. */
export default callOnSchedule('daily-tenant-backup', (now) => ({
  idempotency_key: `netlify ${now.toISOString().slice(0, 10)}`,
}))

/** In UTC. */
export const config = { schedule: '17 2 * * *' }
