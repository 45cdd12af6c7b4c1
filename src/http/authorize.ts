import { createHash, timingSafeEqual } from 'node:crypto'
import type { Queryable } from '../core/database/database.ts'
import { BackupError } from '../core/errors.ts'
import { findRestore } from '../core/restore/restore-record.ts'
import type { Actor } from '../core/services.ts'
import { findTenant } from '../core/tenants/find-tenant.ts'
import type { Environment } from './environment.ts'
import { verifyUser } from './verify-user.ts'

export type CallerKind = 'cron' | 'operator' | 'metrics' | 'user'

/** Who calls, and what they may touch. */
export type Caller =
  | { kind: 'cron' | 'operator' | 'metrics'; actor: Actor }
  | { kind: 'user'; actor: Actor & { id: string }; tenantIds: readonly string[] }

/** Who calls, before the database was asked what they may. */
export type Identity =
  | { kind: 'cron' | 'operator' | 'metrics' }
  | { kind: 'user'; id: string; label: string }

const JWT_SHAPE = /^[\w-]+\.[\w-]+\.[\w-]+$/

/**
 * Says who calls: by `Authorization: Bearer`, which holds the cron secret, the operator secret or a
 * user's token. A secret that is not set lets nobody in. Throws `secret_in_query`, `not_signed_in`,
 * `not_configured`, `auth_unavailable`.
 */
export async function identify(
  request: Request,
  environment: Environment,
  options: { mayUseSecretInQuery: boolean; ownToken?: string | undefined },
): Promise<Identity> {
  const token = readToken(request, environment, options)
  if (token.value === undefined) {
    throw new BackupError(
      'not_signed_in',
      'Say who you are: Authorization: Bearer, followed by a secret or by the token of a signed-in user.',
    )
  }
  if (equalsSecret(token.value, environment.cronSecret)) return { kind: 'cron' }
  if (!token.isFromQuery && equalsSecret(token.value, environment.operatorSecret)) {
    return { kind: 'operator' }
  }
  if (!token.isFromQuery && equalsSecret(token.value, options.ownToken)) {
    return { kind: 'metrics' }
  }
  if (!token.isFromQuery && JWT_SHAPE.test(token.value)) {
    return { kind: 'user', ...(await verifyUser(environment, token.value)) }
  }
  if (environment.cronSecret === undefined) {
    throw new BackupError(
      'not_configured',
      'CRON_SECRET is not set on this site, so no secret is accepted. Set it, and give the same value to the cron service.',
    )
  }
  throw new BackupError('not_signed_in', 'This secret is not the one that is set on this site.')
}

interface Token {
  value: string | undefined
  isFromQuery: boolean
}

function readToken(
  request: Request,
  environment: Environment,
  { mayUseSecretInQuery }: { mayUseSecretInQuery: boolean },
): Token {
  const inQuery = new URL(request.url).searchParams.get('secret')
  if (inQuery !== null && !(mayUseSecretInQuery && environment.mayUseSecretInQuery)) {
    throw new BackupError(
      'secret_in_query',
      mayUseSecretInQuery
        ? 'A secret in the URL ends up in logs. Send it as Authorization: Bearer. Where the cron service can’t, set CRON_SECRET_IN_QUERY=allow on this site. Replace the secret that was sent.'
        : 'A secret in the URL ends up in logs. Send it as Authorization: Bearer, and replace the one that was sent.',
    )
  }
  const header = request.headers.get('authorization')
  if (header === null) return { value: inQuery ?? undefined, isFromQuery: true }
  return { value: /^Bearer +(\S+) *$/i.exec(header)?.[1], isFromQuery: false }
}

/** Compares digests, so that the time says nothing about length or content. */
export function equalsSecret(given: string, secret: string | undefined): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const isEqual = timingSafeEqual(digest(given), digest(secret ?? ''))
  return secret !== undefined && secret !== '' && isEqual
}

/**
 * What the caller may do now: a user's rights are read from the host's membership table and from our
 * list of operators at this moment, never from the token.
 */
export async function readCaller(database: Queryable, identity: Identity): Promise<Caller> {
  if (identity.kind !== 'user') {
    const { kind } = identity
    const actorKind = kind === 'metrics' ? 'system' : kind
    return { kind, actor: { kind: actorKind, id: null, label: kind } }
  }
  const { id, label } = identity
  const { rows } = await database.query<{ isOperator: boolean; tenantIds: string[] }>(
    `select exists (select from tenantkeep.operators where user_id = $1) as "isOperator",
            array(select distinct tenant_id from tenantkeep.administered_by($1)) as "tenantIds"`,
    [id],
  )
  const rights = rows[0]
  if (rights?.isOperator === true)
    return { kind: 'operator', actor: { kind: 'operator', id, label } }
  return {
    kind: 'user',
    actor: { kind: 'user', id, label },
    tenantIds: rights?.tenantIds ?? [],
  }
}

/**
 * The tenant that a request is about, where the caller may act for it. Throws `invalid_request` for an
 * id that can't be one, `not_allowed` for a member without rights, and `tenant_not_found` for all others,
 * whether the tenant exists or not.
 */
export async function requireTenant(
  database: Queryable,
  caller: Caller,
  givenId: string,
): Promise<{ id: string; name: string | null }> {
  const tenantId = await parseTenantId(database, givenId)
  const isMine = await isAllowed(database, caller, tenantId)
  const tenant = isMine ? await findTenant(database, tenantId) : null
  if (tenant === null) throw tenantNotFound()
  return tenant
}

/** The tenants of a user. Throws `not_allowed` for a user who administers none. */
export function tenantsOf({ tenantIds }: Extract<Caller, { kind: 'user' }>): readonly string[] {
  if (tenantIds.length > 0) return tenantIds
  throw new BackupError(
    'not_allowed',
    'Only owners and admins of an organization may do this. Ask one of yours.',
  )
}

/**
 * The tenant of a user who didn't name one. Throws `invalid_request` for a user of several, `not_allowed`
 * for one of none.
 */
export function onlyTenantOf(caller: Extract<Caller, { kind: 'user' }>): string {
  const [only, ...others] = tenantsOf(caller)
  if (only !== undefined && others.length === 0) return only
  throw new BackupError(
    'invalid_request',
    'You look after several organizations: say which one, as organization_id.',
  )
}

/**
 * The tenant of a backup, where the caller may act for it. Throws `backup_not_found` also where the backup
 * is another tenant's, `not_allowed` for a member without rights.
 */
export async function requireTenantOfBackup(
  database: Queryable,
  caller: Caller,
  backupId: string,
): Promise<string> {
  const { rows } = await database.query<{ tenantId: string }>(
    'select organization_id as "tenantId" from public.tenant_backups where id = $1',
    [backupId],
  )
  const tenantId = rows[0]?.tenantId
  if (tenantId !== undefined && (await isAllowed(database, caller, tenantId))) return tenantId
  throw new BackupError('backup_not_found', 'There is no such backup among yours.')
}

/**
 * The tenant of a restore, where the caller may act for it; it must be the one that is given, if one is.
 * Throws `restore_not_found` also where the restore is another tenant's, `not_allowed` for a member without
 * rights.
 */
export async function requireTenantOfRestore(
  database: Queryable,
  caller: Caller,
  {
    restore_id: restoreId,
    organization_id: givenId,
  }: {
    restore_id: string
    organization_id?: string | undefined
  },
): Promise<{ id: string; name: string | null }> {
  const given = givenId === undefined ? null : await requireTenant(database, caller, givenId)
  const restore = await findRestore(database, restoreId)
  if (restore !== undefined) {
    const { organizationId: id, organizationName: name } = restore
    const isGiven = given === null || id === given.id
    if (isGiven && (await isAllowed(database, caller, id))) return { id, name }
  }
  throw new BackupError('restore_not_found', 'There is no such restore among yours.')
}

/**
 * Lets the cron secret only rehearse, and see no rows, unless this site says otherwise: it sits with an
 * outside service. Throws `not_allowed`.
 */
export function requireMayRestore(
  caller: Caller,
  environment: Environment,
  { dry_run: isDryRun, samples }: { dry_run: boolean; samples: number },
): void {
  if (caller.kind !== 'cron' || environment.mayCronRestore || (isDryRun && samples === 0)) return
  throw new BackupError(
    'not_allowed',
    'The cron secret only rehearses a restore (dry_run: true, no samples). Use OPERATOR_SECRET or sign in; where the cron service has to restore, set CRON_SECRET_MAY_RESTORE=allow on this site.',
  )
}

function tenantNotFound(): BackupError {
  return new BackupError(
    'tenant_not_found',
    'There is no such organization among yours. If you have just lost your place in it, whoever runs this application can restore it.',
  )
}

/** False for a stranger; throws `not_allowed` for a member without rights, who knows the tenant anyway. */
async function isAllowed(database: Queryable, caller: Caller, tenantId: string): Promise<boolean> {
  if (caller.kind !== 'user' || caller.tenantIds.includes(tenantId)) return true
  if (!(await belongsTo(database, caller.actor.id, tenantId))) return false
  throw new BackupError(
    'not_allowed',
    'Only owners and admins of the organization may do this. Ask one of them.',
  )
}

async function belongsTo(database: Queryable, userId: string, tenantId: string): Promise<boolean> {
  const { rows } = await database.query<{ belongs: boolean }>(
    'select tenantkeep.belongs_to($1, $2) as belongs',
    [userId, tenantId],
  )
  return rows[0]?.belongs ?? false
}

const ID_SHAPES: Record<string, RegExp> = {
  uuid: /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i,
  smallint: /^-?\d{1,5}$/,
  integer: /^-?\d{1,10}$/,
  bigint: /^-?\d{1,19}$/,
}
/** For ids of other types: printable, and no longer than a path takes. */
const TEXT_SHAPE = /^[^\p{Cc}]{1,200}$/u

/** An id as the host's tenant column writes it. */
async function parseTenantId(database: Queryable, given: string): Promise<string> {
  const { rows } = await database.query<{ type: string }>(
    `select tenant_type as type from tenantkeep.tenant_tables where class = 'root'`,
  )
  const type = rows[0]?.type
  if (type === undefined) {
    throw new BackupError(
      'not_configured',
      'No tenant table is known in this database. Run `tenantkeep init` first.',
    )
  }
  if (!(ID_SHAPES[type] ?? TEXT_SHAPE).test(given)) {
    throw new BackupError('invalid_request', `organization_id is not a ${type}.`)
  }
  return type === 'uuid' ? given.toLowerCase() : given
}
