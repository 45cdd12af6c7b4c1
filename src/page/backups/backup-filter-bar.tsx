import { Button, NativeSelect, Text, TextInput } from '@mantine/core'
import { useDebouncedCallback } from '@mantine/hooks'
import { type ReactNode, useEffect, useRef, useState } from 'react'
import { DateRange } from '../frame/date-range.tsx'
import { formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import classes from '../frame/page.module.css'
import list from './backup-list.module.css'
import { KINDS } from './backup-words.ts'
import { type ListChoices, toKind, toState } from './use-list-choices.ts'

const KIND_CHOICES = [
  { value: '', label: 'All kinds' },
  { value: 'daily_tenant', label: KINDS.daily_tenant },
  { value: 'manual', label: KINDS.manual },
  { value: 'pre_restore', label: KINDS.pre_restore },
]

const STATE_CHOICES = [
  { value: '', label: 'Any state' },
  { value: 'verified', label: 'Verified' },
  { value: 'proven', label: 'Proven' },
  { value: 'damaged', label: 'Damaged' },
  { value: 'pinned', label: 'Pinned or held' },
  { value: 'failed', label: 'Failed' },
  { value: 'pruned', label: 'Pruned' },
]

interface BackupFilterBarProps {
  isNarrow: boolean
  choices: ListChoices
  isFiltered: boolean
  /** How many backups fit. */
  total: number
  onChoose: (changes: Partial<Pick<ListChoices, 'search' | 'kind' | 'state' | 'days'>>) => void
  onClear: () => void
  /** What sorts, where there are no columns to do it. */
  sort: ReactNode
}

/** Which backups to show. On a phone only the order stands open. */
export function BackupFilterBar(props: BackupFilterBarProps) {
  const [isOpen, setOpen] = useState(props.isFiltered)
  if (!props.isNarrow) {
    return (
      <search className={list.filters}>
        <Fields {...props} />
      </search>
    )
  }
  return (
    <search className={list.filters}>
      <div className={list.narrowBar}>
        {props.sort}
        <Button
          size="md"
          variant="default"
          leftSection={<Icon name="filter" />}
          aria-expanded={isOpen}
          onClick={() => setOpen(!isOpen)}
        >
          Filter
        </Button>
      </div>
      {isOpen && <Fields {...props} />}
    </search>
  )
}

function Fields({ isNarrow, choices, isFiltered, total, onChoose, onClear }: BackupFilterBarProps) {
  const size = isNarrow ? 'md' : 'sm'
  return (
    <>
      <SearchField size={size} value={choices.search} onChange={(search) => onChoose({ search })} />
      <NativeSelect
        size={size}
        aria-label="Kind"
        value={choices.kind ?? ''}
        data={KIND_CHOICES}
        onChange={(event) => onChoose({ kind: toKind(event.currentTarget.value) })}
      />
      <NativeSelect
        size={size}
        aria-label="State"
        value={choices.state ?? ''}
        data={STATE_CHOICES}
        onChange={(event) => onChoose({ state: toState(event.currentTarget.value) })}
      />
      <DateRange
        className={list.dates}
        size={size}
        label="Taken from – to"
        placeholder="Any day"
        value={choices.days}
        onChange={(days) => onChoose({ days })}
      />
      {isFiltered && (
        <Button size={size} variant="subtle" onClick={onClear}>
          Clear filters
        </Button>
      )}
      <Text size="sm" c="dimmed" className={list.total} role="status">
        {formatPlural(total, 'backup')}
        <span className={classes.hidden}>{isFiltered ? ' fit the filters' : ' in all'}</span>
      </Text>
    </>
  )
}

const SEARCH_DELAY_MS = 300

/** Searches when one stops typing; what is cleared elsewhere is cleared here too. */
function SearchField({
  size,
  value,
  onChange,
}: {
  size: 'sm' | 'md'
  value: string
  onChange: (value: string) => void
}) {
  const [text, setText] = useState(value)
  const sent = useRef(value)
  const send = useDebouncedCallback((next: string) => {
    sent.current = next
    onChange(next)
  }, SEARCH_DELAY_MS)
  useEffect(() => {
    if (value === sent.current) return
    sent.current = value
    setText(value)
  }, [value])
  return (
    <TextInput
      size={size}
      className={list.search}
      type="search"
      aria-label="Search in names, notes and tags"
      placeholder="Search name, note, tag"
      leftSection={<Icon name="search" />}
      value={text}
      onChange={(event) => {
        setText(event.currentTarget.value)
        send(event.currentTarget.value)
      }}
    />
  )
}
