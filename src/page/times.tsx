import { Tooltip } from '@mantine/core'
import { createContext, useContext, useEffect, useState } from 'react'
import { formatExactUtc, formatTime } from './format.ts'

/** Whether times are shown in UTC; the page has one switch for all of them. */
export const UtcTimes = createContext(false)

/** An instant in the reader's zone, with the exact UTC time on hover and for machines. */
export function Time({ value }: { value: Date }) {
  const utc = useContext(UtcTimes)
  return (
    <Tooltip label={formatExactUtc(value)} openDelay={200}>
      <time dateTime={value.toISOString()}>{formatTime(value, { utc })}</time>
    </Tooltip>
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
