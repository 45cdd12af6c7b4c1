import { createContext, useContext, useEffect, useState } from 'react'
import { formatDay, formatExactUtc, formatNearTime, formatTime, toDay } from './format.ts'

/** Whether times are shown in UTC; the page has one switch for all of them. */
export const UtcTimes = createContext(false)

/**
 * An instant in the reader's zone, with the exact UTC time on hover and for machines. For the keyboard
 * there is the switch that shows all times in UTC.
 */
export function Time({ value }: { value: Date }) {
  const utc = useContext(UtcTimes)
  return (
    <time dateTime={value.toISOString()} title={formatExactUtc(value)}>
      {formatTime(value, { utc })}
    </time>
  )
}

/** As `Time`, but `today, 14:02` where that is near: for sentences, never for lists. */
export function NearTime({ value }: { value: Date }) {
  const utc = useContext(UtcTimes)
  const now = useNow(60_000)
  return (
    <time
      dateTime={value.toISOString()}
      title={`${formatTime(value, { utc })} · ${formatExactUtc(value)}`}
    >
      {formatNearTime(value, now, { utc })}
    </time>
  )
}

/** The day of an instant, where the hour is of no interest. */
export function Day({ value }: { value: Date }) {
  const utc = useContext(UtcTimes)
  return (
    <time dateTime={value.toISOString()} title={formatExactUtc(value)}>
      {formatDay(toDay(value, utc))}
    </time>
  )
}

/** The present, renewed every so many milliseconds. */
export function useNow(everyMs: number): Date {
  const [now, setNow] = useState(() => new Date())
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), everyMs)
    return () => clearInterval(timer)
  }, [everyMs])
  return now
}
