import { type Command, InvalidArgumentError } from 'commander'
import type { RetentionPolicy } from '../core/retention/retention-policy.ts'
import { readPolicy, setPolicy } from '../core/retention/set-policy.ts'
import type { Actor } from '../core/services.ts'
import { locateInShared } from '../core/tenants/locate-tenant.ts'
import { EXIT } from './exit-status.ts'
import { printable } from './format-text.ts'
import { addCommonFlags, collect, type Runner } from './run-command.ts'
import { type ConnectionFlags, withDatabase } from './settings.ts'

type PolicyFlags = ConnectionFlags & { tenant?: string }

interface SetFlags extends ConnectionFlags {
  tenant: string
  withinDays?: number
  last?: number
  daily?: number
  weekly?: number
  monthly?: number
  yearly?: number
  tag?: string[]
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }
const DATABASE = ['--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)"] as const

/** `policy show`, `set` and `clear`: how long a tenant's backups are kept. */
export function registerPolicy(program: Command, run: Runner): void {
  const policy = program.command('policy').description('how long the backups of a tenant are kept')
  addCommonFlags(
    policy
      .command('show')
      .description('the rules that hold for a tenant, or for all that have none of their own')
      .option('--tenant <id>', 'of one tenant')
      .option(...DATABASE),
  ).action(
    run<PolicyFlags>(({ env }, flags) =>
      withDatabase(flags, env, async (database) => {
        const found = await readPolicy({ tenants: locateInShared(database) }, flags.tenant)
        const from = {
          tenant: 'of its own',
          setting: 'of the setting retention',
          default: 'the default',
        }[found.source]
        return {
          document: { policy: found.policy, policy_from: found.source, problem: found.problem },
          text: found.problem ?? `${describePolicy(found.policy)} (${from})`,
          status: found.problem === null ? EXIT.done : EXIT.failed,
        }
      }),
    ),
  )
  addCommonFlags(
    policy
      .command('set')
      .description('give a tenant rules of its own; what is not given keeps nothing')
      .requiredOption('--tenant <id>', 'whose backups')
      .option('--within-days <n>', 'everything younger than this', toCount)
      .option('--last <n>', 'the newest so many daily ones, and as many manual ones', toCount)
      .option('--daily <n>', 'one of each of the last so many days with a backup, UTC', toCount)
      .option('--weekly <n>', 'the same by ISO weeks', toCount)
      .option('--monthly <n>', 'the same by months', toCount)
      .option('--yearly <n>', 'the same by years', toCount)
      .option('--tag <tag=days>', 'what carries the tag, for so many days (repeatable)', collect)
      .option(...DATABASE),
  ).action(
    run<SetFlags>(({ env }, flags) =>
      withDatabase(flags, env, async (database) => {
        const rules = toPolicy(flags)
        await setPolicy(
          { tenants: locateInShared(database) },
          { tenantId: flags.tenant, policy: rules, actor: ACTOR },
        )
        return { document: { policy: rules }, text: describePolicy(rules) }
      }),
    ),
  )
  addCommonFlags(
    policy
      .command('clear')
      .description('the rules of all other tenants hold for this one again')
      .requiredOption('--tenant <id>', 'whose backups')
      .option(...DATABASE),
  ).action(
    run<PolicyFlags & { tenant: string }>(({ env }, flags) =>
      withDatabase(flags, env, async (database) => {
        await setPolicy(
          { tenants: locateInShared(database) },
          { tenantId: flags.tenant, policy: null, actor: ACTOR },
        )
        return { document: { policy: null }, text: 'It has no rules of its own any more.' }
      }),
    ),
  )
}

function toPolicy(flags: SetFlags): Record<string, unknown> {
  const { withinDays: within_days, last, daily, weekly, monthly, yearly, tag = [] } = flags
  const tags = Object.fromEntries(
    tag.map((given) => {
      const at = given.lastIndexOf('=')
      return [given.slice(0, Math.max(0, at)), Number(given.slice(at + 1))]
    }),
  )
  const given = { within_days, last, daily, weekly, monthly, yearly }
  return {
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    ...(tag.length === 0 ? {} : { tags }),
  }
}

function describePolicy(policy: RetentionPolicy | Record<string, unknown> | null): string {
  const { tags, ...rules } = { tags: {}, ...policy }
  return [
    ...Object.entries(rules).map(([rule, number]) => `${rule} ${number}`),
    ...Object.entries(tags ?? {}).map(([tag, days]) => `tag ${printable(tag)} ${days} days`),
  ].join(', ')
}

function toCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 0) {
    throw new InvalidArgumentError('It must be a whole number, zero or more.')
  }
  return count
}
