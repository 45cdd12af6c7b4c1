import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { createClient } from '@supabase/supabase-js'
import { expect, vi } from 'vitest'
import * as z from 'zod'
import { initialiseProtection } from '../../src/core/tables/initialise-protection.ts'
import { closeServices } from '../../src/http/services.ts'
import { startSupabaseApi } from '../../src/local/supabase-api.ts'
import { createDemoLogins } from '../../supabase/demo/create-demo-users.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'

/** What is in every row of the site's tenants, and must be in no answer and no log line. */
export const ROW_CANARY = 'canary-row-3f9a'

const HOST = `
  create table public.organizations (id uuid primary key, name text not null);
  create table public.profiles (
    id uuid primary key,
    organization_id uuid not null references public.organizations (id),
    role text not null
  );
  create table public.notes (
    id bigint generated always as identity primary key,
    organization_id uuid not null references public.organizations (id),
    body text not null
  );
  create index on public.profiles (organization_id);
  create index on public.notes (organization_id);
`

interface Organization {
  id: string
  name: string
}

export type PersonName =
  | 'owner'
  | 'admin'
  | 'member'
  | 'otherOwner'
  | 'operatorUser'
  | 'ownerOfTwo'
  | 'stranger'

type EnvName =
  | 'SUPABASE_URL'
  | 'SUPABASE_PUBLISHABLE_KEY'
  | 'SUPABASE_SECRET_KEY'
  | 'SUPABASE_DB_URL'
  | 'CRON_SECRET'
  | 'OPERATOR_SECRET'
  | 'BACKUP_SIGNING_KEY'
  | 'BACKUP_STORE'

export interface Site {
  database: TestDatabase
  /** The folder of the directory store. */
  folder: string
  organizations: [Organization, Organization, Organization]
  env: Record<EnvName, string>
  /** A user's token; signs in with Supabase Auth on first use. */
  tokenOf(person: PersonName): Promise<string>
  /** Sets the environment that the functions read; undefined takes a variable away. */
  setEnvironment(changes?: Record<string, string | undefined>): void
  /** What the functions logged. */
  logLines: readonly string[]
  /** Fails where a secret or a value of a row was logged. */
  close(): Promise<void>
}

/**
 * A host application of three tenants with people in Supabase Auth, under protection, and the
 * environment of a deployed site with a directory store. Functions are called as request and response.
 */
export async function createSite({ tenants = 3 }: { tenants?: number } = {}): Promise<Site> {
  const database = await createTestDatabase()
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-site-'))
  const keys = {
    publishable: `sb_publishable_${randomBytes(16).toString('hex')}`,
    secret: `sb_secret_${randomBytes(16).toString('hex')}`,
    jwtSecret: randomBytes(32).toString('hex'),
  }
  const api = await startSupabaseApi({
    databaseUrl: database.superuserUrl,
    storageFolder: join(folder, 'storage'),
    keys,
    port: 0,
  })

  const organizations: Site['organizations'] = [
    { id: randomUUID(), name: 'Alpha Gases' },
    { id: randomUUID(), name: 'Beta Rentals' },
    { id: randomUUID(), name: 'Gamma Welding' },
  ]
  const more = Array.from({ length: Math.max(0, tenants - 3) }, (_, i) => ({
    id: randomUUID(),
    name: `Tenant ${i + 4}`,
  }))
  const [alpha, beta, gamma] = organizations
  const people: Record<PersonName, { id: string; rights: [Organization, string][] }> = {
    owner: { id: randomUUID(), rights: [[alpha, 'owner']] },
    admin: { id: randomUUID(), rights: [[alpha, 'admin']] },
    member: { id: randomUUID(), rights: [[alpha, 'member']] },
    otherOwner: { id: randomUUID(), rights: [[beta, 'owner']] },
    operatorUser: { id: randomUUID(), rights: [] },
    ownerOfTwo: {
      id: randomUUID(),
      rights: [
        [beta, 'owner'],
        [gamma, 'owner'],
      ],
    },
    stranger: { id: randomUUID(), rights: [] },
  }
  await installHost(database, [...organizations, ...more], people)

  const env = {
    SUPABASE_URL: api.url,
    SUPABASE_PUBLISHABLE_KEY: keys.publishable,
    SUPABASE_SECRET_KEY: keys.secret,
    SUPABASE_DB_URL: database.workerUrl,
    CRON_SECRET: `canary-cron-${randomBytes(16).toString('hex')}`,
    OPERATOR_SECRET: `canary-operator-${randomBytes(16).toString('hex')}`,
    BACKUP_SIGNING_KEY: `test:${randomBytes(32).toString('base64')}`,
    BACKUP_STORE: pathToFileURL(join(folder, 'backups')).href,
  }
  const tokens = new Map<PersonName, Promise<string>>()
  const log = captureLog()

  return {
    database,
    folder: join(folder, 'backups'),
    organizations,
    env,
    tokenOf(person) {
      const token = tokens.get(person) ?? signIn(api.url, keys.publishable, person)
      tokens.set(person, token)
      return token
    },
    setEnvironment(changes = {}) {
      for (const [name, value] of Object.entries({ ...NOT_SET, ...env, ...changes })) {
        vi.stubEnv(name, value)
      }
    },
    logLines: log.lines,
    async close() {
      log.stop()
      await closeServices()
      await api.stop()
      await database.drop()
      await rm(folder, { recursive: true, force: true })
      // Whatever a test file did: no secret, no value of a row, no password came out.
      const secrets = [...SECRETS.map((name) => env[name]), ...(await Promise.all(tokens.values()))]
      for (const secret of [ROW_CANARY, PASSWORD, database.workerUrl, ...secrets]) {
        expect(log.lines.filter((line) => line.includes(secret))).toEqual([])
      }
    },
  }
}

const SECRETS = [
  'SUPABASE_SECRET_KEY',
  'CRON_SECRET',
  'OPERATOR_SECRET',
  'BACKUP_SIGNING_KEY',
] as const

/** Keeps what goes to stdout and stderr, and the JSON lines among it from the terminal. */
function captureLog(): { lines: string[]; stop: () => void } {
  const lines: string[] = []
  const undo = [process.stdout, process.stderr].map((stream) => {
    const write = stream.write
    stream.write = (chunk: string | Uint8Array, ...rest: never[]): boolean => {
      const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString()
      lines.push(text)
      return text.startsWith('{"level"') ? true : write.call(stream, chunk, ...rest)
    }
    return () => {
      stream.write = write
    }
  })
  return {
    lines,
    stop() {
      for (const restore of undo) restore()
    },
  }
}

/** Whoever runs the tests may have a real site in the environment. */
const NOT_SET = {
  VITE_SUPABASE_URL: undefined,
  SUPABASE_SERVICE_ROLE_KEY: undefined,
  SUPABASE_ANON_KEY: undefined,
  VITE_SUPABASE_ANON_KEY: undefined,
  VITE_SUPABASE_PUBLISHABLE_KEY: undefined,
  CRON_SECRET_IN_QUERY: undefined,
  CRON_SECRET_MAY_RESTORE: undefined,
  BACKUP_SIGNING_KEY_PREVIOUS: undefined,
  ALLOWED_ORIGINS: undefined,
  ALERT_WEBHOOK_URL: undefined,
  MONITOR_PING_URL: undefined,
  METRICS_TOKEN: undefined,
  NETLIFY_SCHEDULE: undefined,
  URL: undefined,
}

const PASSWORD = 'canary-password-1'
const emailOf = (person: PersonName) => `${person.toLowerCase()}@example.com`

async function installHost(
  database: TestDatabase,
  organizations: readonly Organization[],
  people: Record<PersonName, { id: string; rights: [Organization, string][] }>,
): Promise<void> {
  const names = Object.keys(people) as PersonName[]
  await database.admin.withConnection(async (admin) => {
    await admin.query(HOST)
    await admin.query(
      `insert into public.organizations select o.id, o.name from json_to_recordset($1) as o (id uuid, name text)`,
      [JSON.stringify(organizations)],
    )
    await admin.query(
      `insert into public.notes (organization_id, body)
       select o.id, $1::text || ' ' || i from public.organizations o, generate_series(1, 5) i`,
      [ROW_CANARY],
    )
    // One person may have several memberships, so the table of members has a key of its own.
    await admin.query('alter table public.profiles add column user_id uuid')
    await admin.query(
      `insert into public.profiles (id, user_id, organization_id, role)
       select gen_random_uuid(), p.id, p.organization, p.role
       from json_to_recordset($1) as p (id uuid, organization uuid, role text)`,
      [
        JSON.stringify(
          names.flatMap((name) =>
            people[name].rights.map(([{ id }, role]) => ({
              id: people[name].id,
              organization: id,
              role,
            })),
          ),
        ),
      ],
    )
  })
  await database.superuser.withConnection((session) =>
    createDemoLogins(
      session,
      names.map((name) => ({
        id: people[name].id,
        email: emailOf(name),
        fullName: name,
        role: 'owner',
        tenantId: '',
        tenantName: '',
      })),
      () => PASSWORD,
    ),
  )
  const report = await initialiseProtection(database.admin, {
    tenantTable: 'public.organizations',
    tenantColumns: ['organization_id'],
    enableRowSecurity: true,
  })
  if (!report.isApplied) throw new Error(JSON.stringify(report.unsettled))
  await database.admin.query(
    `insert into tenantkeep.settings (key, value) values ('membership', $1)
     on conflict (key) do update set value = excluded.value`,
    [
      JSON.stringify({
        schema: 'public',
        table: 'profiles',
        user: 'user_id',
        tenant: 'organization_id',
        role: 'role',
        roles: ['owner', 'admin'],
      }),
    ],
  )
  await database.admin.query(
    `insert into tenantkeep.operators (user_id, label) values ($1, 'operator@example.com')`,
    [people.operatorUser.id],
  )
}

async function signIn(url: string, key: string, person: PersonName): Promise<string> {
  const client = createClient(url, key, { auth: { persistSession: false } })
  const { data, error } = await client.auth.signInWithPassword({
    email: emailOf(person),
    password: PASSWORD,
  })
  if (error !== null) throw error
  return data.session.access_token
}

export type Handler = (request: Request) => Promise<Response>

export interface CallOptions {
  method?: string
  token?: string
  body?: unknown
  /** The body as it is, for what is no JSON. */
  text?: string
  headers?: Record<string, string>
  query?: Record<string, string>
}

const Json = z.record(z.string(), z.any())

/** Calls a function as the platform would; the answer with its JSON, if it has any. */
export async function call(handler: Handler, options: CallOptions = {}) {
  const { answer, status, headers } = await send(handler, options)
  return { status, headers, json: answer === '' ? {} : Json.parse(JSON.parse(answer)) }
}

/** The same for an answer of one JSON object a line. */
export async function callLines(handler: Handler, options: CallOptions = {}) {
  const accept = { accept: 'application/x-ndjson' }
  const { answer, status, headers } = await send(handler, { ...options, headers: accept })
  const lines = answer.trimEnd().split('\n')
  return { status, headers, lines: lines.map((line) => Json.parse(JSON.parse(line))) }
}

async function send(handler: Handler, options: CallOptions) {
  const url = new URL('https://site.example/.netlify/functions/any')
  for (const [name, value] of Object.entries(options.query ?? {})) url.searchParams.set(name, value)
  const text =
    options.text ?? (options.body === undefined ? undefined : JSON.stringify(options.body))
  const response = await handler(
    new Request(url, {
      method: options.method ?? 'POST',
      headers: {
        ...(text === undefined ? {} : { 'content-type': 'application/json' }),
        ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
        ...options.headers,
      },
      ...(text === undefined ? {} : { body: text }),
    }),
  )
  const answer = await response.text()
  expect(answer).not.toContain(ROW_CANARY)
  expect(answer).not.toMatch(/canary-(cron|operator|password)|sb_secret_|postgres:\/\//)
  return { answer, status: response.status, headers: response.headers }
}
