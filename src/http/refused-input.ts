import { BackupError } from '../core/errors.ts'
import type { Services } from '../core/services.ts'
import { type AttemptType, recordRefusal } from '../core/tenants/record-refusal.ts'
import { type Identity, readCaller } from './authorize.ts'
import { BackupNote } from './daily-answers.ts'
import type { RefusedInput } from './read-input.ts'

/**
 * Puts an attempt into the journal whose input is refused: by whom, with which note, and which of our own
 * fields are wrong. Nothing else of what was sent, names included, since it may be a row in the wrong place.
 * Where the journal can't be written either, the log says so, and the answer stays what it is.
 */
export async function journalRefusedInput(
  { tenants, log }: Services,
  identity: Identity,
  type: AttemptType,
  { given, issues }: RefusedInput,
): Promise<void> {
  const named = issues.flatMap(({ path: [field] }) => (typeof field === 'string' ? [field] : []))
  const fields = [...new Set(named)]
  const unknown = issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys' && issue.path.length === 0 ? issue.keys : [],
  )
  const wrong = [...fields, ...(unknown.length > 0 ? [`${unknown.length} unknown`] : [])]
  const error = new BackupError(
    'invalid_request',
    wrong.length === 0
      ? 'The body of the request could not be read.'
      : `The input was refused: ${wrong.join(', ')}.`,
  )
  try {
    const { actor } = await readCaller(tenants.catalog, identity)
    const note = readNote(given)
    const scope = { fields, unknown_fields: unknown.length }
    await recordRefusal(tenants.catalog, { type, actor, tenantId: null, note, scope, error })
  } catch (cause) {
    log.error({ err: cause }, 'A refused attempt could not be journalled')
  }
}

function readNote(given: unknown): string | null {
  if (typeof given !== 'object' || given === null || !('note' in given)) return null
  return BackupNote.safeParse(given.note).data ?? null
}
