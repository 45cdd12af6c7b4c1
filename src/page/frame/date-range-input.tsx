import '@mantine/dates/styles.css'
import { DatePickerInput } from '@mantine/dates'
import { useEffect, useId, useRef } from 'react'
import type { DateRangeProps } from './date-range.tsx'
import classes from './page.module.css'

/** The calendar itself; opens at once, since it is loaded by whoever wants it open. */
export default function DateRangeInput({
  className,
  size,
  label,
  placeholder,
  value,
  onChange,
}: DateRangeProps) {
  const id = useId()
  const input = useRef<HTMLButtonElement>(null)
  useEffect(() => {
    input.current?.focus()
    input.current?.click()
  }, [])
  return (
    <>
      <span id={`${id}-label`} className={classes.hidden}>
        {label}
      </span>
      <DatePickerInput
        type="range"
        allowSingleDateInRange
        clearable
        ref={input}
        className={className}
        size={size}
        id={id}
        // Its label and what it shows; the calendar is called after it.
        aria-labelledby={`${id}-label ${id}`}
        placeholder={placeholder}
        valueFormat="D MMM YYYY"
        hideOutsideDates
        popoverProps={{ id }}
        // Red is for what failed.
        weekendDays={[]}
        ariaLabels={{
          previousMonth: 'Previous month',
          nextMonth: 'Next month',
          previousYear: 'Previous year',
          nextYear: 'Next year',
          previousDecade: 'Previous decade',
          nextDecade: 'Next decade',
        }}
        defaultValue={value === null ? [null, null] : [value.first, value.last]}
        onChange={([first, last]) => {
          if (first !== null && last !== null) onChange({ first, last })
          else if (first === null) onChange(null)
        }}
      />
    </>
  )
}
