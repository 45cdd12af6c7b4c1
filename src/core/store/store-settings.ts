import * as z from 'zod'
import type { StoreSettings } from './open-store.ts'

const text = z
  .string()
  .trim()
  .optional()
  .transform((value) => (value === '' ? undefined : value))

const Variables = z.object({
  SUPABASE_URL: text,
  VITE_SUPABASE_URL: text,
  SUPABASE_SECRET_KEY: text,
  SUPABASE_SERVICE_ROLE_KEY: text,
  BACKUP_S3_ENDPOINT: text,
  BACKUP_S3_REGION: text,
  BACKUP_S3_ACCESS_KEY_ID: text,
  BACKUP_S3_SECRET_ACCESS_KEY: text,
  BACKUP_S3_SESSION_TOKEN: text,
  BACKUP_S3_FORCE_PATH_STYLE: text,
  AWS_ENDPOINT_URL_S3: text,
  AWS_REGION: text,
  AWS_ACCESS_KEY_ID: text,
  AWS_SECRET_ACCESS_KEY: text,
  AWS_SESSION_TOKEN: text,
  AWS_LAMBDA_FUNCTION_NAME: text,
  BACKUP_COPY_STORE: text,
  BACKUP_COPY_S3_ENDPOINT: text,
  BACKUP_COPY_S3_REGION: text,
  BACKUP_COPY_S3_ACCESS_KEY_ID: text,
  BACKUP_COPY_S3_SECRET_ACCESS_KEY: text,
  BACKUP_COPY_S3_SESSION_TOKEN: text,
  BACKUP_COPY_S3_FORCE_PATH_STYLE: text,
  BACKUP_COPY_SUPABASE_URL: text,
  BACKUP_COPY_SUPABASE_SECRET_KEY: text,
})

type Given = Readonly<Record<string, string | undefined>>

/** What the variables of S3 say, as text; the store checks them when it is opened. */
export interface S3Variables {
  endpoint: string | undefined
  region: string | undefined
  accessKeyId: string | undefined
  secretAccessKey: string | undefined
  sessionToken: string | undefined
  forcePathStyle: string | undefined
}

/**
 * The credentials of the first place. S3's may also come by the names that AWS's own tools use, except in
 * a function: there those are the credentials of the function itself, which open nothing of ours.
 */
export function readCredentials(given: Given): Omit<StoreSettings, 'url'> {
  const all = Variables.parse(given)
  const isFunction = all.AWS_LAMBDA_FUNCTION_NAME !== undefined
  const aws = isFunction ? Variables.parse({}) : all
  const keys =
    all.BACKUP_S3_ACCESS_KEY_ID === undefined
      ? {
          accessKeyId: aws.AWS_ACCESS_KEY_ID,
          secretAccessKey: aws.AWS_SECRET_ACCESS_KEY,
          sessionToken: aws.AWS_SESSION_TOKEN,
        }
      : {
          accessKeyId: all.BACKUP_S3_ACCESS_KEY_ID,
          secretAccessKey: all.BACKUP_S3_SECRET_ACCESS_KEY,
          sessionToken: all.BACKUP_S3_SESSION_TOKEN,
        }
  return {
    supabaseUrl: all.SUPABASE_URL ?? all.VITE_SUPABASE_URL,
    supabaseSecretKey: all.SUPABASE_SECRET_KEY ?? all.SUPABASE_SERVICE_ROLE_KEY,
    s3: {
      ...keys,
      endpoint: all.BACKUP_S3_ENDPOINT ?? aws.AWS_ENDPOINT_URL_S3,
      region: all.BACKUP_S3_REGION ?? aws.AWS_REGION,
      forcePathStyle: all.BACKUP_S3_FORCE_PATH_STYLE,
    },
  }
}

/**
 * Where copies go (`BACKUP_COPY_STORE`); undefined where nowhere. Its credentials are its own
 * (`BACKUP_COPY_S3_…`, `BACKUP_COPY_SUPABASE_…`), or those of the first place where it has none.
 */
export function readCopySettings(given: Given): StoreSettings | undefined {
  const all = Variables.parse(given)
  if (all.BACKUP_COPY_STORE === undefined) return undefined
  const first = readCredentials(given)
  const s3: S3Variables = {
    endpoint: all.BACKUP_COPY_S3_ENDPOINT,
    region: all.BACKUP_COPY_S3_REGION,
    accessKeyId: all.BACKUP_COPY_S3_ACCESS_KEY_ID,
    secretAccessKey: all.BACKUP_COPY_S3_SECRET_ACCESS_KEY,
    sessionToken: all.BACKUP_COPY_S3_SESSION_TOKEN,
    forcePathStyle: all.BACKUP_COPY_S3_FORCE_PATH_STYLE,
  }
  const supabaseUrl = all.BACKUP_COPY_SUPABASE_URL
  return {
    url: all.BACKUP_COPY_STORE,
    supabaseUrl: supabaseUrl ?? first.supabaseUrl,
    // Never the key of one project to the address of another.
    supabaseSecretKey:
      supabaseUrl === undefined ? first.supabaseSecretKey : all.BACKUP_COPY_SUPABASE_SECRET_KEY,
    s3: Object.values(s3).some((value) => value !== undefined) ? s3 : first.s3,
  }
}
