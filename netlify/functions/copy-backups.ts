import { z } from 'zod'
import { handle } from '../../src/http/handle.ts'
import { callUpkeep } from '../../src/http/upkeep-answers.ts'

/**
 * Brings to the second place what is missing there (cron, operator).
 * 200 done, 202 the background goes on, 500 something failed.
 */
export default handle({
  name: 'copy-backups',
  methods: ['POST'],
  input: z.strictObject({}),
  allow: ['cron', 'operator'],
  run: (call) => callUpkeep('copy', call),
})
