import { Button, Skeleton } from '@mantine/core'
import { lazy, Suspense, useContext, useState } from 'react'
import { formatDay } from './format.ts'
import { PartBoundary } from './part-boundary.tsx'
import { UtcTimes } from './times.tsx'

const DateRangeInput = lazy(() => import('./date-range-input.tsx'))

/** Two days (`2026-11-19`), both included. */
export interface Days {
  first: string
  last: string
}

export interface DateRangeProps {
  className?: string | undefined
  size: 'sm' | 'md'
  label: string
  /** What stands there while nothing is chosen. */
  placeholder: string
  value: Days | null
  onChange: (days: Days | null) => void
}

/** A choice of days. The calendar is loaded when it is asked for. */
export function DateRange(props: DateRangeProps) {
  const [isAsked, setAsked] = useState(false)
  const utc = useContext(UtcTimes)
  const { className, size, label, placeholder, value } = props
  if (!isAsked) {
    return (
      <Button
        className={className}
        size={size}
        variant="default"
        fw={400}
        onClick={() => setAsked(true)}
        aria-label={`${label}: ${value === null ? placeholder : describeDays(value)}${utc ? ', UTC' : ''}`}
      >
        {value === null ? placeholder : describeDays(value)}
      </Button>
    )
  }
  return (
    <PartBoundary>
      <Suspense fallback={<Skeleton width={150} height={size === 'md' ? 42 : 36} />}>
        <DateRangeInput {...props} />
      </Suspense>
    </PartBoundary>
  )
}

function describeDays({ first, last }: Days): string {
  return first === last ? formatDay(first) : `${formatDay(first)} – ${formatDay(last)}`
}
