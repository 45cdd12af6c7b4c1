import type { Queryable } from '../database/database.ts'
import { quoteIdentifier } from '../tables/quote-identifier.ts'
import { readRoleFaults } from '../tables/read-role-faults.ts'
import { type Finding, finding } from './finding.ts'

const RUN = /^(.*); run: (.*)$/s
const ATTRIBUTE = /^(\S+) (is a superuser|bypasses row level security|may make roles|may log in),/
const WITHOUT: Record<string, string> = {
  'is a superuser': 'nosuperuser',
  'bypasses row level security': 'nobypassrls',
  'may make roles': 'nocreaterole',
  'may log in': 'nologin',
}

/** Our roles: what they are and members of, and whether the worker can become the operator. */
export async function checkRoles(database: Queryable): Promise<Finding[]> {
  const faults = await readRoleFaults(database)
  const found = faults.map((fault) => {
    const [, role, attribute = ''] = ATTRIBUTE.exec(fault) ?? []
    const otherwise =
      role === undefined ? 'tenantkeep init' : `alter role ${role} ${WITHOUT[attribute]}`
    const [, message = fault, remedy = otherwise] = RUN.exec(fault) ?? []
    return finding('role_fault', { subject: 'roles', message: `${message}.`, remedy })
  })
  const { rows } = await database.query<{
    database: string
    canBecome: boolean
    mayMakeTemp: boolean
    attributes: string[]
  }>(
    `select current_database() as database,
       pg_has_role('tenantkeep_worker', 'tenantkeep_operator',
         case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end) as "canBecome",
       has_database_privilege('tenantkeep_operator', current_database(), 'temporary') as "mayMakeTemp",
       array(
         select r.rolname || ' ' || a.attribute
         from pg_catalog.pg_roles r
         cross join lateral (values ('replication', r.rolreplication), ('createdb', r.rolcreatedb)) as a (attribute, is_so)
         where r.rolname in ('tenantkeep_worker', 'tenantkeep_operator', 'tenantkeep_scope') and a.is_so
         order by 1
       ) as attributes`,
  )
  const state = rows[0]
  if (state?.canBecome === false) {
    found.push(
      finding('worker_powerless', {
        subject: 'tenantkeep_worker',
        message: 'The worker can’t become tenantkeep_operator, so it can read no table.',
        remedy:
          'grant tenantkeep_operator to tenantkeep_worker with inherit false, set true (before Postgres 16 without «with …»)',
      }),
    )
  }
  if (state?.mayMakeTemp === false) {
    found.push(
      finding('temporary_missing', {
        subject: 'tenantkeep_operator',
        message:
          'It may not make temporary tables, in which backups are tried and restores are staged.',
        remedy: `grant temporary on database ${quoteIdentifier(state.database)} to tenantkeep_operator`,
      }),
    )
  }
  for (const attribute of state?.attributes ?? []) {
    const [role = '', right = ''] = attribute.split(' ')
    found.push(
      finding('role_fault', {
        subject: role,
        message: `${role} has the attribute ${right}, which it must not.`,
        remedy: `alter role ${role} no${right}`,
      }),
    )
  }
  return found
}
