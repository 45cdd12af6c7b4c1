import { BackupError } from '../errors.ts'
import { DirectoryStore } from './directory-store.ts'
import type { Store } from './store.ts'
import { SupabaseStore } from './supabase-store.ts'

export interface StoreSettings {
  /** `file:///…` or `supabase://bucket`. */
  url: string
  supabaseUrl?: string | undefined
  /** `sb_secret_…`, or the service role key of older projects. */
  supabaseSecretKey?: string | undefined
}

/**
 * Opens the store that the URL names; touches neither disk nor network (`check` does). Throws
 * `invalid_request` for a URL of another kind, `not_configured` where Supabase's URL or key is missing.
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
  throw new BackupError(
    'invalid_request',
    'The store must be file:///an/absolute/path or supabase://a-bucket. Set BACKUP_STORE or --store.',
  )
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
