import * as z from 'zod/mini'
import { count } from '../calls/call-function.ts'
import { formatPlural } from '../frame/format.ts'

/** Which backups are kept; what is missing keeps nothing. */
export const Policy = z.object({
  within_days: z.optional(count),
  last: z.optional(count),
  daily: z.optional(count),
  weekly: z.optional(count),
  monthly: z.optional(count),
  yearly: z.optional(count),
  tags: z.optional(z.record(z.string(), count)),
})
type Policy = z.infer<typeof Policy>

const PERIODS = [
  ['daily', 'day'],
  ['weekly', 'week'],
  ['monthly', 'month'],
  ['yearly', 'year'],
] as const

/** The rules in words, one each: `everything younger than 30 days`. */
export function describePolicy(policy: Policy): string[] {
  const { within_days: days, last = 0, tags = {} } = policy
  const rules: string[] = []
  if (days !== undefined) rules.push(`everything younger than ${formatPlural(days, 'day')}`)
  if (last > 0) {
    rules.push(
      last === 1
        ? 'the newest daily and the newest manual one'
        : `the newest ${last} daily and the newest ${last} manual ones`,
    )
  }
  for (const [rule, period] of PERIODS) {
    const number = policy[rule] ?? 0
    if (number > 0) {
      rules.push(
        number === 1
          ? `the newest of the last ${period} with a backup`
          : `the newest of each of the last ${formatPlural(number, period)} with a backup`,
      )
    }
  }
  for (const [tag, tagDays] of Object.entries(tags)) {
    rules.push(`what is tagged #${tag}, for ${formatPlural(tagDays, 'day')}`)
  }
  return rules
}
