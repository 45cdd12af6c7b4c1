import type { Database, Queryable } from '../database/database.ts'
import { quoteIdentifier, quoteTable } from '../tables/quote-identifier.ts'
import { type Finding, finding } from './finding.ts'

// `A` always, `R` replica: both fire while triggers are silenced. Rules know the same states.
const READ_ACTING = `
  with registered as (
    select c.oid, t.schema_name as schema, t.table_name as name
    from tenantkeep.tenant_tables t
    join pg_catalog.pg_namespace n on n.nspname = t.schema_name
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
    where t.class in ('root', 'direct', 'child', 'custom', 'derived')
  )
  select r.schema, r.name, 'trigger' as kind, g.tgname as object, g.tgenabled as state
  from registered r
  join pg_catalog.pg_trigger g on g.tgrelid = r.oid
  where not g.tgisinternal and g.tgenabled in ('A', 'R') and g.tgparentid = 0
  union all
  select r.schema, r.name, 'rule', w.rulename, w.ev_enabled
  from registered r
  join pg_catalog.pg_rewrite w on w.ev_class = r.oid
  where w.rulename <> '_RETURN' and w.ev_enabled <> 'D'
  order by 1, 2, 3, 4`

/** Triggers and rules that would act in the middle of a restore. */
export async function checkTriggers(database: Queryable): Promise<Finding[]> {
  const { rows } = await database.query<{
    schema: string
    name: string
    kind: 'trigger' | 'rule'
    object: string
    state: string
  }>(READ_ACTING)
  return rows.map((row) => {
    const relation = quoteTable(row)
    const object = quoteIdentifier(row.object)
    const subject = `${row.schema}.${row.name}`
    if (row.kind === 'rule' && row.state === 'O') {
      return finding('rule_present', {
        subject,
        message: `The rule ${object} rewrites statements of the application; a restore, which writes as a replica, passes it by.`,
        remedy: 'none',
      })
    }
    const when = row.state === 'A' ? 'always' : 'on a replica'
    return finding(row.kind === 'rule' ? 'rule_always' : 'trigger_always', {
      subject,
      message: `The ${row.kind} ${object} is enabled ${when}, so it acts in the middle of a restore, which silences all others.`,
      remedy: `alter table ${relation} enable ${row.kind} ${object}`,
    })
  })
}

/** Tries to silence triggers, in a transaction that is rolled back: without it no restore can be written. */
export async function checkSilence(database: Database): Promise<Finding[]> {
  return database.withConnection(async (connection) => {
    await connection.query('begin')
    try {
      await connection.query('select tenantkeep.silence_triggers()')
      const { rows } = await connection.query<{ role: string }>(
        `select current_setting('session_replication_role') as role`,
      )
      if (rows[0]?.role === 'replica') return []
      return [silenceFailed('the parameter did not change', 'THE_OWNER')]
    } catch (error) {
      await connection.query('rollback')
      const { rows } = await connection.query<{ owner: string }>(
        `select p.proowner::regrole::text as owner from pg_catalog.pg_proc p
         where p.oid = to_regprocedure('tenantkeep.silence_triggers()')`,
      )
      return [silenceFailed((error as Error).message, rows[0]?.owner ?? 'THE_OWNER')]
    } finally {
      await connection.query('rollback')
    }
  })
}

function silenceFailed(reason: string, owner: string): Finding {
  return finding('triggers_not_silenced', {
    subject: 'tenantkeep.silence_triggers()',
    message: `Triggers can’t be silenced: ${reason}. Backups stand; no restore could be written.`,
    remedy: `grant set on parameter session_replication_role to ${owner} (as a superuser)`,
  })
}
