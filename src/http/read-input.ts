import type { z } from 'zod'
import { BackupError } from '../core/errors.ts'

/** More than any of our inputs needs; the longest is a restore of some thousand rows by their keys. */
const MAX_CHARACTERS = 1_000_000

export interface RefusedInput {
  /** Null where it could not be read at all. */
  given: unknown
  issues: readonly z.core.$ZodIssue[]
}

/**
 * Reads the input of a request, which is the JSON body of a POST (an empty one counts as `{}`) or the
 * query of a GET. Throws `invalid_request`, naming fields but never what was in them.
 */
export async function readInput<Input>(
  request: Request,
  schema: z.ZodType<Input>,
  /** Called before it throws: with what was sent, and with what is wrong about it as far as it could be read. */
  onRefused?: (refused: RefusedInput) => Promise<void>,
): Promise<Input> {
  let given: unknown
  try {
    given = request.method === 'GET' ? readQuery(request) : await readBody(request)
  } catch (error) {
    await onRefused?.({ given: null, issues: [] })
    throw error
  }
  const parsed = schema.safeParse(given)
  if (parsed.success) return parsed.data
  await onRefused?.({ given, issues: parsed.error.issues })
  const issues = parsed.error.issues.map(describeIssue)
  throw new BackupError('invalid_request', issues.map((issue) => issue.message).join(' '), {
    details: { issues },
  })
}

function readQuery(request: Request): unknown {
  const query = new URL(request.url).searchParams
  query.delete('secret')
  return Object.fromEntries(query)
}

async function readBody(request: Request): Promise<unknown> {
  const text = await request.text()
  if (text.length > MAX_CHARACTERS) {
    throw new BackupError('invalid_request', 'The body is too long.')
  }
  if (text.trim() === '') return {}
  const type = request.headers.get('content-type') ?? ''
  if (!/^application\/(.+\+)?json\s*(;|$)/i.test(type)) {
    throw new BackupError('invalid_request', 'Send the body as Content-Type: application/json.')
  }
  try {
    return JSON.parse(text)
  } catch {
    throw new BackupError('invalid_request', 'The body is not valid JSON.')
  }
}

function describeIssue(issue: z.core.$ZodIssue): { field: string; message: string } {
  if (issue.code === 'unrecognized_keys') {
    const names = issue.keys.join(', ')
    return { field: names, message: `Unknown field: ${names}.` }
  }
  const field = issue.path.join('.')
  return { field, message: field === '' ? `${issue.message}.` : `${field}: ${issue.message}.` }
}
