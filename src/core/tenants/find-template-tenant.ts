import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'

/** The tenant whose rows are what a new tenant starts with, as the setting names it; null where none is set. */
export async function findTemplateTenant(
  database: Queryable,
): Promise<{ id: string; name: string | null } | null> {
  const { rows } = await database.query<{ id: string; name: string | null; isThere: boolean }>(
    `select s.value #>> '{}' as id, t.tenant_name as name, t.tenant_id is not null as "isThere"
     from tenantkeep.settings s
     left join tenantkeep.list_tenants() t on t.tenant_id = s.value #>> '{}'
     where s.key = 'template_tenant'`,
  )
  const template = rows[0]
  if (template === undefined) return null
  if (!template.isThere) {
    throw new BackupError(
      'not_configured',
      `The setting template_tenant names ${template.id}, and there is no such tenant. Set it with \`tenantkeep init --template-tenant ID\`, or restore that tenant from its last backup.`,
    )
  }
  return { id: template.id, name: template.name }
}

/** The same where there must be one. Throws `not_configured`. */
export async function requireTemplateTenant(
  database: Queryable,
): Promise<{ id: string; name: string | null }> {
  const template = await findTemplateTenant(database)
  if (template !== null) return template
  throw new BackupError(
    'not_configured',
    'No tenant holds the defaults. Say which one with `tenantkeep init --template-tenant ID`.',
  )
}
