import * as z from 'zod'
import { handle } from '../../src/http/handle.ts'
import { callUpkeep } from '../../src/http/upkeep-answers.ts'

/**
 * Reads older backups back in rotation, within the day's budget of bytes (cron, operator).
 * 200 done, 202 the background goes on, 500 something failed.
 */
export default handle({
  name: 'verify-backups',
  methods: ['POST'],
  input: z.strictObject({}),
  allow: ['cron', 'operator'],
  run: (call) => callUpkeep('verify', call),
})
