import { Argument, type Command, InvalidArgumentError } from 'commander'
import { BackupError } from '../core/errors.ts'
import type { TenantPolicy } from '../core/retention/retention-policy.ts'
import { readPolicy, setPolicy } from '../core/retention/set-policy.ts'
import type { Actor } from '../core/services.ts'
import { locateInShared } from '../core/tenants/locate-tenant.ts'
import { EXIT } from './exit-status.ts'
import { printable } from './format-text.ts'
import { addCommonFlags, type CommandResult, collect, type Runner } from './run-command.ts'
import { type ConnectionFlags, withDatabase } from './settings.ts'

interface PolicyFlags extends ConnectionFlags {
  tenant?: string
  withinDays?: number
  last?: number
  daily?: number
  weekly?: number
  monthly?: number
  yearly?: number
  tag?: string[]
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }
const FROM = {
  tenant: 'its own',
  setting: 'the setting retention',
  default: 'the default',
} as const

/** `policy show`, `set` and `clear`: how long a tenant's backups are kept. */
export function registerPolicy(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('policy')
      .description(
        'how long backups are kept: show what holds, set rules for one tenant, or clear them',
      )
      .addArgument(new Argument('<what>', 'show, set or clear').choices(['show', 'set', 'clear']))
      .option('--tenant <id>', 'of one tenant; needed to set and clear')
      .option('--within-days <n>', 'everything younger than this', toCount)
      .option('--last <n>', 'the newest so many daily ones, and as many manual ones', toCount)
      .option('--daily <n>', 'one of each of the last so many days with a backup, UTC', toCount)
      .option('--weekly <n>', 'the same by ISO weeks', toCount)
      .option('--monthly <n>', 'the same by months', toCount)
      .option('--yearly <n>', 'the same by years', toCount)
      .option('--tag <tag=days>', 'what carries the tag, for so many days (repeatable)', collect)
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)"),
  ).action(
    run<PolicyFlags>(({ env }, flags, [what]) =>
      withDatabase(flags, env, async (database) => {
        const services = { tenants: locateInShared(database) }
        const { tenant: tenantId } = flags
        if (what === 'show') return describePolicy(await readPolicy(services, tenantId))
        if (tenantId === undefined) {
          throw new BackupError('invalid_request', 'Say whose rules: --tenant.')
        }
        const policy = what === 'set' ? toPolicy(flags) : null
        await setPolicy(services, { tenantId, policy, actor: ACTOR })
        return describePolicy(await readPolicy(services, tenantId))
      }),
    ),
  )
}

function describePolicy({ policy, source, problem }: TenantPolicy): CommandResult {
  const { tags = {}, ...rules } = policy ?? {}
  const words = [
    ...Object.entries(rules).map(([rule, number]) => `${rule} ${number}`),
    ...Object.entries(tags).map(([tag, days]) => `tag ${printable(tag)} ${days} days`),
  ]
  return {
    document: { policy, policy_from: source, problem },
    text: problem ?? `${words.join(', ')} (${FROM[source]})`,
    status: problem === null ? EXIT.done : EXIT.failed,
  }
}

function toPolicy(flags: PolicyFlags): Record<string, unknown> {
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

function toCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 0) {
    throw new InvalidArgumentError('It must be a whole number, zero or more.')
  }
  return count
}
