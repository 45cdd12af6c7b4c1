import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { escapeLiteral } from 'pg'
import type { Queryable } from '../database/database.ts'

const SCRAM_ITERATIONS = 4096

/**
 * Gives the worker's login a new random password and returns it. The server gets a SCRAM verifier made
 * here, so the password stands in no statement and in no log. Sessions that are open stay open; the old
 * password ends at once.
 */
export async function setWorkerPassword(admin: Queryable): Promise<string> {
  const password = randomBytes(24).toString('base64url')
  // `alter role` takes no parameters; the verifier is base64 and two dollar signs.
  await admin.query(
    `alter role tenantkeep_worker password ${escapeLiteral(scramVerifier(password))}`,
  )
  return password
}

/** The database URL with the worker's name and password in place of the administrator's. */
export function workerUrl(adminUrl: string, password: string): string {
  const url = new URL(adminUrl)
  // A shared pooler wants `role.project`; the project is what follows the administrator's role.
  const project = decodeURIComponent(url.username).split('.').slice(1).join('.')
  url.username = project === '' ? 'tenantkeep_worker' : `tenantkeep_worker.${project}`
  url.password = password
  return url.href
}

/** RFC 5803: SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>. */
function scramVerifier(password: string): string {
  const salt = randomBytes(16)
  const salted = pbkdf2Sync(password, salt, SCRAM_ITERATIONS, 32, 'sha256')
  const clientKey = createHmac('sha256', salted).update('Client Key').digest()
  const storedKey = createHash('sha256').update(clientKey).digest('base64')
  const serverKey = createHmac('sha256', salted).update('Server Key').digest('base64')
  return `SCRAM-SHA-256$${SCRAM_ITERATIONS}:${salt.toString('base64')}$${storedKey}:${serverKey}`
}
