import { callOnSchedule } from '../../src/http/call-on-schedule.ts'

/** Fires the monitor by Netlify's own clock, once an hour; off unless `NETLIFY_SCHEDULE=on`. */
export default callOnSchedule('backup-monitor', () => ({}))

/** In UTC. */
export const config = { schedule: '41 * * * *' }
