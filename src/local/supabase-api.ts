import { once } from 'node:events'
import type { Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import type { App } from '@supabase/lite'
import { correctStorage } from './correct-storage.ts'
import { createFileStorage } from './file-storage.ts'
import { applyHostedShape, createApiRoles } from './hosted-shape.ts'

interface ApiKeys {
  publishable: string
  secret: string
  /** Signs the tokens of signed-in users. */
  jwtSecret: string
}

export interface SupabaseApiOptions {
  /** The superuser's URL, as the platform's own services have it. */
  databaseUrl: string
  /** Where the bytes of stored objects are kept. */
  storageFolder: string
  keys: ApiKeys
  /** 0 takes any free port. */
  port: number
}

export interface SupabaseApi {
  /** `http://localhost:54321`: what `SUPABASE_URL` is set to. */
  url: string
  stop(): Promise<void>
}

/**
 * Makes the roles of the API and the schemas `auth` and `storage` with the shape they have on a hosted
 * project. Repeatable; nothing of the owner's is touched.
 */
export async function createPlatformSchemas(databaseUrl: string): Promise<void> {
  await createApiRoles(databaseUrl)
  const app = await createApp({
    databaseUrl,
    storageFolder: '/nowhere',
    keys: { publishable: '', secret: '', jwtSecret: 'unused' },
  })
  try {
    await app.ensureSystemSchema()
  } finally {
    await app.connection.close()
  }
  await applyHostedShape(databaseUrl)
}

/** Serves PostgREST, Auth and Storage to an unmodified supabase-js. The schemas must be there. */
export async function startSupabaseApi(options: SupabaseApiOptions): Promise<SupabaseApi> {
  const app = await createApp(options)
  const serve = correctStorage((request) => app.fetch(request))
  // Otherwise it puts classes of its own in place of the process's Request and Response.
  const server = createAdaptorServer({ fetch: serve, overrideGlobalObjects: false }) as Server
  server.listen(options.port, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : options.port

  return {
    url: `http://localhost:${port}`,
    async stop() {
      server.close()
      server.closeAllConnections()
      await app.connection.close()
    },
  }
}

async function createApp({
  databaseUrl,
  storageFolder,
  keys,
}: Omit<SupabaseApiOptions, 'port'>): Promise<App> {
  process.env.EXPERIMENTAL_STORAGE = '1'
  process.env.LITE_TELEMETRY = '0'
  process.env.DO_NOT_TRACK = '1'
  // Read when the package is loaded, so only now.
  const { App } = await import('@supabase/lite')
  const { createPostgresConnection } = await import('@supabase/lite/postgres')

  const connection = createPostgresConnection({
    url: databaseUrl,
    postgresOptions: { max: 8, onnotice: () => {} },
  })
  // Left to itself it would grant everything in every schema to `anon`, and put its own bodies into
  // `auth.uid()`, on the first request. The hosted shape is made by `hosted-shape.ts`.
  Reflect.set(connection, 'rlsState', 'active')

  const app = new App({
    connection,
    api: { enabled: true, schemas: ['public'] },
    auth: {
      enabled: true,
      jwt_secret: keys.jwtSecret,
      publishable_key: keys.publishable,
      secret_key: keys.secret,
    },
    storage: { enabled: true, file_size_limit: '50MiB' },
    options: { server: { admin: false } },
  })
  app._storageAdapter = createFileStorage(storageFolder)
  return initialiseQuietly(app)
}

/** It warns once that its Storage is an experiment, which is nothing that the reader could act on. */
async function initialiseQuietly(app: App): Promise<App> {
  const { warn } = console
  console.warn = () => {}
  try {
    return await app.init()
  } finally {
    console.warn = warn
  }
}
