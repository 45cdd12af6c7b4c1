import { once } from 'node:events'
import * as z from 'zod'
import { startSupabaseApi } from '../../src/local/supabase-api.ts'

const Options = z.object({
  databaseUrl: z.string(),
  storageFolder: z.string(),
  keys: z.object({ publishable: z.string(), secret: z.string(), jwtSecret: z.string() }),
})

// Serves the API until its parent closes the pipe; the first line on stdout is where.
console.log = console.error
const [first] = await once(process.stdin.setEncoding('utf8'), 'data')
const options = Options.parse(JSON.parse(String(first)))
const api = await startSupabaseApi({ ...options, port: 0 })
process.stdout.write(`${api.url}\n`)
process.stdin.resume()
await once(process.stdin, 'end')
await api.stop()
