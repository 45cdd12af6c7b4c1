import * as z from 'zod'
import { BackupError } from '../../src/core/errors.ts'
import { placesOf } from '../../src/core/store/read-with-copy.ts'
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
  async run(call) {
    if (placesOf(call.services.store).length < 2) {
      throw new BackupError(
        'not_configured',
        'There is no second place for backups. Set BACKUP_COPY_STORE on this site.',
      )
    }
    return callUpkeep('copy', call)
  },
})
