import { randomBytes } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'

const Secrets = z.object({
  supabaseAdminPassword: z.string(),
  postgresPassword: z.string(),
  workerPassword: z.string(),
  publishableKey: z.string(),
  secretKey: z.string(),
  jwtSecret: z.string(),
  cronSecret: z.string(),
  operatorSecret: z.string(),
  signingKey: z.string(),
  /** One for all people of the demonstration. */
  demoPassword: z.string(),
})
export type Secrets = z.infer<typeof Secrets>

/** The stack's secrets: made on the first start, kept beside the data, readable by nobody else. */
export async function loadSecrets(folder: string): Promise<Secrets> {
  const file = join(folder, 'secrets.json')
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text !== undefined) return Secrets.parse(JSON.parse(text))

  const random = (bytes: number) => randomBytes(bytes).toString('base64url')
  const secrets: Secrets = {
    supabaseAdminPassword: random(18),
    postgresPassword: random(18),
    workerPassword: random(18),
    publishableKey: `sb_publishable_${random(18)}`,
    secretKey: `sb_secret_${random(24)}`,
    jwtSecret: random(32),
    cronSecret: random(24),
    operatorSecret: random(24),
    signingKey: `local:${randomBytes(32).toString('base64')}`,
    demoPassword: `demo-${random(9)}`,
  }
  // All or nothing: a start that is killed here must not leave half a file.
  await writeFile(`${file}.new`, JSON.stringify(secrets, null, 2), { mode: 0o600 })
  await rename(`${file}.new`, file)
  return secrets
}
