import '@mantine/dates/styles.css'
import { DatePickerInput } from '@mantine/dates'
import { useEffect, useRef } from 'react'
import type { DateRangeProps } from './date-range.tsx'

/** The calendar itself; opens at once, since it is loaded by whoever wants it open. */
export default function DateRangeInput({
  className,
  size,
  label,
  placeholder,
  value,
  onChange,
}: DateRangeProps) {
  const input = useRef<HTMLButtonElement>(null)
  useEffect(() => {
    input.current?.focus()
    input.current?.click()
  }, [])
  return (
    <DatePickerInput
      type="range"
      allowSingleDateInRange
      clearable
      ref={input}
      className={className}
      size={size}
      aria-label={label}
      placeholder={placeholder}
      valueFormat="D MMM YYYY"
      hideOutsideDates
      // Red is for what failed.
      weekendDays={[]}
      ariaLabels={{
        previousMonth: 'Previous month',
        nextMonth: 'Next month',
        previousYear: 'Previous year',
        nextYear: 'Next year',
        previousDecade: 'Previous decade',
        nextDecade: 'Next decade',
        monthLevelControl: 'Choose the month',
        yearLevelControl: 'Choose the year',
      }}
      defaultValue={value === null ? [null, null] : [value.first, value.last]}
      onChange={([first, last]) => {
        if (first !== null && last !== null) onChange({ first, last })
        else if (first === null) onChange(null)
      }}
    />
  )
}
