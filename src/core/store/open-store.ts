import { BackupError } from '../errors.ts'
import { DirectoryStore } from './directory-store.ts'
import { StoreWithCopy } from './read-with-copy.ts'
import { type S3Settings, S3Store } from './s3-store.ts'
import type { Store } from './store.ts'
import type { S3Variables } from './store-settings.ts'
import { SupabaseStore } from './supabase-store.ts'

export interface StoreSettings {
  /** `file:///…`, `supabase://bucket` or `s3://bucket/prefix`. */
  url: string
  supabaseUrl?: string | undefined
  /** `sb_secret_…`, or the service role key of older projects. */
  supabaseSecretKey?: string | undefined
  s3?: S3Variables | undefined
}

/**
 * Opens the store that the URL names; touches neither disk nor network (`check` does). Throws
 * `invalid_request` for a URL of another kind, `not_configured` where what it needs is missing.
 */
export function openStore(settings: StoreSettings): Store {
  const url = URL.canParse(settings.url) ? new URL(settings.url) : null
  if (url?.protocol === 'file:' && url.host === '' && url.pathname !== '/') {
    return new DirectoryStore(url)
  }
  // The bucket is taken from the text: a URL would turn «Backups» into another name.
  const bucket = /^supabase:\/\/([A-Za-z0-9][A-Za-z0-9_.-]{0,62})\/?$/.exec(settings.url)?.[1]
  if (bucket !== undefined) {
    return new SupabaseStore(bucket, readProject(settings))
  }
  const place = readS3Place(settings.url)
  if (place !== undefined) return new S3Store(place, readS3Settings(settings.s3))
  throw new BackupError(
    'invalid_request',
    'The store must be file:///an/absolute/path, supabase://a-bucket or s3://a-bucket/a-prefix. Set BACKUP_STORE or --store.',
  )
}

/**
 * Opens the place where backups are made, with the one for copies behind it where there is one: what the
 * first can't give is then read from there. Throws what `openStore` throws, and `not_configured` where both
 * are the same place.
 */
export function openStores(first: StoreSettings, copy: StoreSettings | undefined): Store {
  const store = openStore(first)
  if (copy === undefined) return store
  const copyStore = openStore(copy)
  const [a = '', b = ''] = [store.url, copyStore.url].map((url) => `${url}/`)
  if (a.startsWith(b) || b.startsWith(a)) {
    throw new BackupError(
      'not_configured',
      'BACKUP_COPY_STORE names the same place as BACKUP_STORE, or one within the other. Backups are known by the URL of their store: give the second bucket another name or prefix, also at another service.',
    )
  }
  return new StoreWithCopy(store, copyStore)
}

function readProject(settings: StoreSettings): { url: string; secretKey: string } {
  const { supabaseUrl, supabaseSecretKey } = settings
  if (supabaseUrl === undefined || supabaseUrl === '') {
    throw new BackupError(
      'not_configured',
      'The store is a Supabase bucket, but SUPABASE_URL is not set. It is the URL of the project.',
    )
  }
  const url = URL.canParse(supabaseUrl) ? new URL(supabaseUrl) : null
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.search !== '') {
    throw new BackupError(
      'not_configured',
      'SUPABASE_URL is not the URL of a Supabase project, like https://abcdefgh.supabase.co.',
    )
  }
  if (supabaseSecretKey === undefined || supabaseSecretKey === '') {
    throw new BackupError(
      'not_configured',
      'The store is a Supabase bucket, but SUPABASE_SECRET_KEY is not set (Project Settings > API keys).',
    )
  }
  // A header refuses other characters with a message that repeats the key.
  if (
    !/^[\x21-\x7e]+$/.test(supabaseSecretKey) ||
    supabaseSecretKey.startsWith('sb_publishable_')
  ) {
    throw new BackupError(
      'not_configured',
      'SUPABASE_SECRET_KEY is not a secret key. It begins with sb_secret_, or is the service_role key of an older project.',
    )
  }
  return { url: supabaseUrl, secretKey: supabaseSecretKey }
}

function readS3Place(url: string): { bucket: string; prefix: string } | undefined {
  const shape =
    /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:\/[A-Za-z0-9_=-][A-Za-z0-9_.=-]*)*)\/?$/
  const [, bucket, prefix] = shape.exec(url) ?? []
  return bucket === undefined ? undefined : { bucket, prefix: (prefix ?? '').slice(1) }
}

function readS3Settings(given: S3Variables | undefined): S3Settings {
  const { endpoint, accessKeyId, secretAccessKey, sessionToken, forcePathStyle } = given ?? {}
  const url = endpoint !== undefined && URL.canParse(endpoint) ? new URL(endpoint) : null
  if (
    endpoint !== undefined &&
    (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.search !== '')
  ) {
    throw notConfigured('ENDPOINT is not the URL of an S3 service, like https://s3.example.com.')
  }
  const region = given?.region ?? (endpoint === undefined ? undefined : 'us-east-1')
  if (region === undefined || !/^[a-z0-9-]{1,64}$/i.test(region)) {
    throw notConfigured('REGION is not set to the region of the bucket, like eu-central-1.')
  }
  // A header refuses other characters with a message that repeats them.
  if (accessKeyId === undefined || !/^[\x21-\x7e]{1,256}$/.test(accessKeyId)) {
    throw notConfigured('ACCESS_KEY_ID is not set to an access key.')
  }
  if (secretAccessKey === undefined || !/^[\x21-\x7e]{1,256}$/.test(secretAccessKey)) {
    throw notConfigured('SECRET_ACCESS_KEY is not set to the secret of the access key.')
  }
  if (sessionToken !== undefined && !/^[\x21-\x7e]+$/.test(sessionToken)) {
    throw notConfigured('SESSION_TOKEN is not a session token.')
  }
  if (forcePathStyle !== undefined && forcePathStyle !== 'true' && forcePathStyle !== 'false') {
    throw notConfigured('FORCE_PATH_STYLE must be true or false.')
  }
  return {
    endpoint,
    region,
    accessKeyId,
    secretAccessKey,
    sessionToken,
    // AWS wants the bucket in the host's name; most others understand only the path.
    forcePathStyle: (forcePathStyle ?? String(endpoint !== undefined)) === 'true',
  }
}

function notConfigured(what: string): BackupError {
  return new BackupError(
    'not_configured',
    `The store is an S3 bucket, but BACKUP_S3_${what} For the place of copies the name begins with BACKUP_COPY_S3_.`,
  )
}
