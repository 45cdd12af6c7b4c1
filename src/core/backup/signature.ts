import { createHmac, timingSafeEqual } from 'node:crypto'
import canonicalize from 'canonicalize'
import * as z from 'zod'
import { BackupError } from '../errors.ts'

/** A key that signs summaries; `id` says which one it was, so that keys can be changed. */
interface SigningKey {
  id: string
  secret: Buffer
}

export interface SigningKeys {
  /** Signs, and checks what it signed. */
  current: SigningKey
  /** Only checks: summaries from before the key was changed. */
  previous: SigningKey | undefined
}

export const Signature = z.strictObject({
  algorithm: z.literal('HMAC-SHA256'),
  key_id: z.string().min(1),
  value: z.base64(),
})
export type Signature = z.infer<typeof Signature>

const KEY_SHAPE = /^([A-Za-z0-9_.-]{1,64}):([A-Za-z0-9+/_-]+={0,2})$/
const MIN_SECRET_BYTES = 32

/**
 * Reads signing keys as `id:base64` (`BACKUP_SIGNING_KEY`, `BACKUP_SIGNING_KEY_PREVIOUS`), the secret
 * being at least 32 bytes. Throws `not_configured`, without repeating what it was given.
 */
export function parseSigningKeys(given: {
  current: string | undefined
  previous?: string | undefined
}): SigningKeys {
  const current = parseKey(given.current, 'BACKUP_SIGNING_KEY')
  const previous =
    given.previous === undefined || given.previous === ''
      ? undefined
      : parseKey(given.previous, 'BACKUP_SIGNING_KEY_PREVIOUS')
  if (previous?.id === current.id) {
    throw new BackupError(
      'not_configured',
      'BACKUP_SIGNING_KEY and BACKUP_SIGNING_KEY_PREVIOUS have the same id. Give the new key a new id.',
    )
  }
  return { current, previous }
}

/** Signs the canonical JSON (RFC 8785) of a document that has no signature yet. */
export function sign(document: object, keys: SigningKeys): Signature {
  return {
    algorithm: 'HMAC-SHA256',
    key_id: keys.current.id,
    value: digest(document, keys.current).toString('base64'),
  }
}

/** Whether the key that a signature names is one of ours; says nothing of the signature itself. */
export function isOurs(signature: Signature, keys: SigningKeys): boolean {
  return findKey(signature, keys) !== undefined
}

function findKey(signature: Signature, keys: SigningKeys): SigningKey | undefined {
  return [keys.current, keys.previous].find((known) => known?.id === signature.key_id)
}

/**
 * Checks the signature of a document given without it. Throws `backup_damaged` when it was not made
 * by one of our keys over exactly this content.
 */
export function checkSignature(
  document: object,
  signature: Signature,
  keys: SigningKeys,
  /** What people know it as. */
  what = 'summary',
): void {
  const key = findKey(signature, keys)
  if (key === undefined) {
    throw new BackupError(
      'backup_damaged',
      `The ${what} is signed with the key «${signature.key_id}», which is not configured. Set it as BACKUP_SIGNING_KEY_PREVIOUS.`,
      { details: { lacking: 'signing_key' } },
    )
  }
  const expected = digest(document, key)
  const actual = Buffer.from(signature.value, 'base64')
  if (actual.length !== expected.length || !timingSafeEqual(actual, expected)) {
    throw new BackupError(
      'backup_damaged',
      `The signature of the ${what} does not match its content: it was changed, or signed with another key of this id.`,
    )
  }
}

function digest(document: object, key: SigningKey): Buffer {
  const canonical = canonicalize(document)
  if (canonical === undefined) {
    throw new BackupError('internal', 'A summary without content cannot be signed.')
  }
  return createHmac('sha256', key.secret).update(canonical, 'utf8').digest()
}

function parseKey(text: string | undefined, variable: string): SigningKey {
  const [, id, encoded] = KEY_SHAPE.exec(text?.trim() ?? '') ?? []
  const secret = Buffer.from(encoded ?? '', 'base64')
  if (id === undefined || secret.length < MIN_SECRET_BYTES) {
    throw new BackupError(
      'not_configured',
      `${variable} must be an id, a colon and at least ${MIN_SECRET_BYTES} random bytes in base64. One is made by: node -e "console.log('k1:'+require('crypto').randomBytes(32).toString('base64'))"`,
    )
  }
  return { id, secret }
}
