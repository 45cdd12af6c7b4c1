import { NativeSelect, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useContext, useState } from 'react'
import { KINDS as BACKUP_KINDS } from '../backups/backup-words.ts'
import type { PageServices } from '../calls/call-function.ts'
import { formatTime } from '../frame/format.ts'
import { UtcTimes } from '../frame/times.tsx'
import classes from './compare.module.css'
import { type BackupChoice, CHOICES, listChoices, readChoice } from './read-comparison.ts'

const LIVE = 'live'
const OLDER = 'older'

/** What the backup is compared with: the live data, or another backup; for old ones one says the day. */
export function CompareWith({
  services,
  tenantId,
  backupId,
  withId,
  onChange,
}: {
  services: PageServices
  tenantId: string
  /** The one that is compared; it is not offered. */
  backupId: string
  withId: string | null
  onChange: (withId: string | null) => void
}) {
  const utc = useContext(UtcTimes)
  const [day, setDay] = useState<string | null>(null)
  const before = day === null ? null : endOfDay(day, utc)
  const choices = useQuery({
    queryKey: ['choices', tenantId, before?.toISOString()],
    queryFn: ({ signal }) => listChoices(services, { tenantId, before }, signal),
    staleTime: 60_000,
    placeholderData: (previous) => previous,
  })
  const listed = (choices.data ?? []).filter(({ id }) => id !== backupId)
  const isListed = withId === null || listed.some(({ id }) => id === withId)
  const chosen = useQuery({
    queryKey: ['choice', tenantId, withId],
    queryFn: ({ signal }) => readChoice(services, { tenantId, backupId: withId ?? '' }, signal),
    enabled: !isListed && choices.data !== undefined,
    staleTime: 60_000,
  })
  const options = [...(isListed || chosen.data == null ? [] : [chosen.data]), ...listed]
  const hasOlder = day !== null || (choices.data?.length ?? 0) >= CHOICES
  return (
    <div className={classes.choose}>
      <NativeSelect
        label="Compared with"
        value={withId ?? LIVE}
        data={[
          { value: LIVE, label: 'The live data' },
          ...options.map((choice) => ({
            value: choice.id,
            label: `Backup of ${describeChoice(choice, utc)}`,
          })),
          ...(withId !== null && !options.some(({ id }) => id === withId)
            ? [{ value: withId, label: 'Another backup' }]
            : []),
          ...(hasOlder && day === null ? [{ value: OLDER, label: 'An older backup…' }] : []),
        ]}
        onChange={(event) => {
          const next = event.currentTarget.value
          if (next === OLDER) setDay(toDateInput(new Date()))
          else onChange(next === LIVE ? null : next)
        }}
      />
      {day !== null && (
        <TextInput
          type="date"
          label="Taken on this day or before"
          value={day}
          max={toDateInput(new Date())}
          onChange={(event) => {
            if (event.currentTarget.value !== '') setDay(event.currentTarget.value)
          }}
        />
      )}
    </div>
  )
}

/** `17 Nov 2026, 03:00 · Daily · before the price import`. */
export function describeChoice(choice: BackupChoice, utc: boolean): string {
  const name = choice.name === null ? [] : [choice.name]
  const time = formatTime(choice.takenAt ?? choice.createdAt, { utc })
  return [time, BACKUP_KINDS[choice.type], ...name].join(' · ')
}

function endOfDay(day: string, utc: boolean): Date {
  const end = new Date(utc ? `${day}T00:00:00Z` : `${day}T00:00:00`)
  if (utc) end.setUTCDate(end.getUTCDate() + 1)
  else end.setDate(end.getDate() + 1)
  return end
}

function toDateInput(date: Date): string {
  const month = String(date.getMonth() + 1).padStart(2, '0')
  return `${date.getFullYear()}-${month}-${String(date.getDate()).padStart(2, '0')}`
}
