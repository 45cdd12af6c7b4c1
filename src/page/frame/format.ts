/**
 * How the page writes numbers, sizes, times and durations. The words are English; digits and dates
 * follow the reader's browser, unless a locale is given.
 */

export interface TimeOptions {
  /** Show times in UTC instead of the reader's zone. */
  utc: boolean
  locale?: string | undefined
}

/** `12,345`. */
export function formatCount(count: number, locale?: string): string {
  return new Intl.NumberFormat(locale).format(count)
}

/** `12,345 rows`, `1 row`; the plural defaults to the word with an s. */
export function formatPlural(
  count: number,
  word: string,
  { plural = `${word}s`, locale }: { plural?: string; locale?: string } = {},
): string {
  const isOne = new Intl.PluralRules('en').select(count) === 'one'
  return `${formatCount(count, locale)} ${isOne ? word : plural}`
}

const UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'] as const

/** `1.2 MB`: powers of 1,000, one decimal below a hundred. */
export function formatBytes(bytes: number, locale?: string): string {
  const power = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3))
  const value = bytes / 1000 ** power
  return new Intl.NumberFormat(locale, {
    style: 'unit',
    unit: UNITS[power] ?? 'byte',
    unitDisplay: power === 0 ? 'long' : 'short',
    maximumFractionDigits: power === 0 || value >= 100 ? 0 : 1,
  }).format(value)
}

/** `9 seconds`, `2 min 5 s`, `1 h 10 min`, from milliseconds. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return 'under a second'
  const seconds = Math.round(ms / 1000)
  if (seconds < 60) return formatPlural(seconds, 'second')
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60)
    return seconds % 60 === 0 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`
  const hours = Math.floor(minutes / 60)
  return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
}

/** `20 Nov 2026, 03:00` in the reader's zone, or in UTC and saying so. */
export function formatTime(time: Date, { utc, locale }: TimeOptions): string {
  const text = new Intl.DateTimeFormat(locale, {
    dateStyle: 'medium',
    timeStyle: 'short',
    ...(utc ? { timeZone: 'UTC' } : {}),
  }).format(time)
  return utc ? `${text} UTC` : text
}

/** `tomorrow, 03:00`, `today, 14:02`, `yesterday, 03:00`; other days as `formatTime` has them. */
export function formatNearTime(time: Date, now: Date, options: TimeOptions): string {
  const distance = countDays(toDay(time, options.utc)) - countDays(toDay(now, options.utc))
  const name = NEAR_DAYS[distance]
  if (name === undefined) return formatTime(time, options)
  const clock = new Intl.DateTimeFormat(options.locale, {
    timeStyle: 'short',
    ...(options.utc ? { timeZone: 'UTC' } : {}),
  }).format(time)
  return `${name}, ${clock}${options.utc ? ' UTC' : ''}`
}

const NEAR_DAYS: Record<number, string> = { [-1]: 'yesterday', 0: 'today', 1: 'tomorrow' }

/** The day of an instant in the reader's zone, or in UTC: `2026-11-20`. */
export function toDay(time: Date, utc: boolean): string {
  if (utc) return time.toISOString().slice(0, 10)
  const pad = (part: number) => String(part).padStart(2, '0')
  return `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())}`
}

/** `20 Nov 2026` from `2026-11-20`. */
export function formatDay(day: string, locale?: string): string {
  return new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeZone: 'UTC' }).format(
    new Date(`${day}T00:00:00Z`),
  )
}

/** `20 Nov` from `2026-11-20`; nothing from what is no day. */
export function formatShortDay(day: string, locale?: string): string {
  const time = new Date(`${day}T00:00:00Z`)
  if (Number.isNaN(time.getTime())) return ''
  return new Intl.DateTimeFormat(locale, {
    day: 'numeric',
    month: 'short',
    timeZone: 'UTC',
  }).format(time)
}

/** Days since 1970 of `2026-11-20`; no summer time can shift it. */
export function countDays(day: string): number {
  return Date.parse(`${day}T00:00:00Z`) / DAY
}

/** `2026-11-20 02:00:04 UTC`. */
export function formatExactUtc(time: Date): string {
  return `${time.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** `3 hours`, `2 days`: rounded down, so that nothing sounds older than it is. */
export function formatAge(ms: number): string {
  if (ms < MINUTE) return 'less than a minute'
  if (ms < HOUR) return formatPlural(Math.floor(ms / MINUTE), 'minute')
  if (ms < 2 * DAY) return formatPlural(Math.floor(ms / HOUR), 'hour')
  return formatPlural(Math.floor(ms / DAY), 'day')
}

/** `3 hours ago`, `just now`. */
export function formatAgo(time: Date, now: Date): string {
  const ms = now.getTime() - time.getTime()
  return ms < MINUTE ? 'just now' : `${formatAge(ms)} ago`
}

/** The reader's zone with its offset now: `Europe/Berlin (UTC+1)`. */
export function describeZone(now: Date): string {
  const zone = new Intl.DateTimeFormat('en').resolvedOptions().timeZone
  const offset = new Intl.DateTimeFormat('en', { timeZoneName: 'shortOffset' })
    .formatToParts(now)
    .find((part) => part.type === 'timeZoneName')
    ?.value.replace('GMT', 'UTC')
  return offset === undefined || offset === zone ? zone : `${zone.replaceAll('_', ' ')} (${offset})`
}
