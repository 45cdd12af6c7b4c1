import type { Queryable } from '../database/database.ts'
import { quoteIdentifier, quoteTable } from '../tables/quote-identifier.ts'
import { readGaps } from '../tables/read-gaps.ts'
import { type Finding, finding } from './finding.ts'

/** Tables of the host schemas that nobody has classified: they are in no backup. */
export async function checkUnclassified(database: Queryable): Promise<Finding[]> {
  const gaps = await readGaps(database)
  return gaps.map((subject) =>
    finding('table_unclassified', {
      subject,
      message: 'Nobody has said what this table is to a tenant, so its rows are in no backup.',
      remedy: 'tenantkeep init (it says what it finds out, and asks about the rest)',
    }),
  )
}

interface ProtectionState {
  schema: string
  name: string
  isGone: boolean
  isOpen: boolean
  missingPolicies: string[]
  missingGrants: string[]
  lacksUsage: boolean
  isChanged: boolean
  /** Since when and by whom it was taken off; null where it was not. */
  unhooked: string | null
}

// What init left on a table of each class; everything finer is in the digest.
const READ_PROTECTION = `
  select t.schema_name as schema, t.table_name as name,
    c.oid is null as "isGone",
    coalesce(t.class <> 'shared' and not c.relrowsecurity, false) as "isOpen",
    array(
      select wanted from unnest(case when t.class in ('root', 'direct', 'child', 'custom')
        then array['zz_tenantkeep_allow', 'zz_tenantkeep_only']
        when t.class = 'shared' then array['zz_tenantkeep_read'] else '{}' end) as wanted
      where c.oid is not null and not exists (
        select from pg_catalog.pg_policy p where p.polrelid = c.oid and p.polname = wanted
      )
    ) as "missingPolicies",
    array(
      select wanted from unnest(case when t.class = 'shared' or not t.is_writable then array['select']
        else array['select', 'insert', 'update', 'delete'] end) as wanted
      where not has_table_privilege('tenantkeep_operator', c.oid, wanted)
    ) as "missingGrants",
    coalesce(not has_schema_privilege('tenantkeep_operator', n.oid, 'usage'), false) as "lacksUsage",
    t.policy_digest is distinct from p.digest as "isChanged",
    case when u.schema_name is not null then format('since %s UTC by %s',
      to_char(u.unhooked_at at time zone 'utc', 'YYYY-MM-DD HH24:MI'), u.unhooked_by) end as unhooked
  from tenantkeep.tenant_tables t
  left join pg_catalog.pg_namespace n on n.nspname = t.schema_name
  left join pg_catalog.pg_class c
    on c.relnamespace = n.oid and c.relname = t.table_name and c.relkind in ('r', 'p')
  left join tenantkeep.table_protection() p using (schema_name, table_name)
  left join tenantkeep.unhooked_tables u using (schema_name, table_name)
  where t.class <> 'excluded'
  order by 1, 2`

/** Registered tables whose protection is not as `init` left it; while there is one, no backup is complete. */
export async function checkProtection(database: Queryable): Promise<Finding[]> {
  const { rows } = await database.query<ProtectionState>(READ_PROTECTION)
  return rows.flatMap(describeState)
}

function describeState(state: ProtectionState): Finding[] {
  const subject = `${state.schema}.${state.name}`
  const relation = quoteTable(state)
  if (state.isGone) {
    return [
      finding('table_gone', {
        subject,
        message:
          'The registry has this table and the database has not. Backups stop until somebody says that this is meant.',
        remedy: 'tenantkeep init',
      }),
    ]
  }
  if (state.unhooked !== null) {
    return [
      finding('table_unhooked', {
        subject,
        message: `Unhooked ${state.unhooked}, for a migration of the host. No backup is taken.`,
        remedy: 'tenantkeep hook',
      }),
    ]
  }
  const found: Finding[] = []
  if (state.isOpen) {
    found.push(
      finding('row_security_off', {
        subject,
        message:
          'Row level security is off, so nothing confines us to one tenant. No backup is taken.',
        remedy: `alter table ${relation} enable row level security`,
      }),
    )
  }
  if (state.missingPolicies.length > 0) {
    found.push(
      finding('policy_missing', {
        subject,
        message: `Missing: ${state.missingPolicies.join(', ')}. No backup is taken.`,
        remedy: 'tenantkeep init',
      }),
    )
  }
  if (state.lacksUsage || state.missingGrants.length > 0) {
    const grants = [
      ...(state.lacksUsage
        ? [`grant usage on schema ${quoteIdentifier(state.schema)} to tenantkeep_operator`]
        : []),
      ...(state.missingGrants.length > 0
        ? [`grant ${state.missingGrants.join(', ')} on ${relation} to tenantkeep_operator`]
        : []),
    ]
    found.push(
      finding('grant_missing', {
        subject,
        message: 'tenantkeep_operator lacks rights on this table. No backup is taken.',
        remedy: grants.join('; '),
      }),
    )
  }
  if (found.length === 0 && state.isChanged) {
    found.push(
      finding('protection_changed', {
        subject,
        message:
          'A policy of ours, a function that it calls, or a grant was changed. No backup is taken.',
        remedy: 'tenantkeep init',
      }),
    )
  }
  return found
}
