import { Button, Paper, Skeleton, Text, Title, UnstyledButton } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { lazy, Suspense, useContext, useRef, useState } from 'react'
import { listRecentBackups } from '../backups/read-backups.ts'
import { useListChoices } from '../backups/use-list-choices.ts'
import type { PageServices } from '../calls/call-function.ts'
import { countDays, formatShortDay } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import classes from '../frame/page.module.css'
import { PartBoundary } from '../frame/part-boundary.tsx'
import { UtcTimes, useNow } from '../frame/times.tsx'
import {
  type Day,
  type DayMark,
  describeDay,
  describeMonth,
  listDays,
  MARKS,
} from './describe-days.ts'
import strip from './timeline.module.css'

const RowsChart = lazy(() => import('./rows-chart.tsx'))

/** A day more than is shown, whatever the zone. */
const SPAN_MS = 32 * 86_400_000

/**
 * The last 30 days at a glance, a button a day, with a chart on demand. The list below says the same in
 * words; a day that is chosen filters it.
 */
export function Timeline({
  services,
  tenantId,
  missedAt,
  isNarrow,
}: {
  services: PageServices
  tenantId: string
  /** When a backup was expected that did not come. */
  missedAt: Date[]
  isNarrow: boolean
}) {
  const utc = useContext(UtcTimes)
  const now = useNow(60_000)
  const { choices, choose } = useListChoices()
  const [isChartOpen, setChartOpen] = useState(false)
  const recent = useQuery({
    queryKey: ['timeline', tenantId],
    queryFn: ({ signal }) =>
      listRecentBackups(services, { tenantId, since: new Date(Date.now() - SPAN_MS) }, signal),
  })
  if (recent.data === undefined) {
    // What failed here fails in the list below as well, which says so and offers to try again.
    return recent.isError ? null : <TimelineSkeleton isNarrow={isNarrow} />
  }
  const days = listDays(recent.data, missedAt, now, utc)
  const chosen =
    choices.days !== null && choices.days.first === choices.days.last ? choices.days.first : null
  const chooseDay = (day: string) =>
    choose({ days: day === chosen ? null : { first: day, last: day } })
  return (
    <Paper withBorder className={`${classes.card} ${strip.timeline}`}>
      <div className={strip.head}>
        <div>
          <Title order={2} size="h5">
            Last 30 days
          </Title>
          <Text size="sm" c="dimmed">
            {describeMonth(days)}
          </Text>
        </div>
        <Button
          size="xs"
          variant="default"
          aria-expanded={isChartOpen}
          onClick={() => setChartOpen(!isChartOpen)}
        >
          {isChartOpen ? 'Hide chart' : 'Show chart'}
        </Button>
      </div>
      <DayButtons days={days} chosen={chosen} isNarrow={isNarrow} onChoose={chooseDay} />
      <Legend days={days} />
      {isChartOpen && (
        <PartBoundary>
          <Suspense fallback={<Skeleton className={strip.chart} />}>
            <RowsChart
              className={strip.chart}
              backups={recent.data}
              days={days.map(({ day }) => day)}
              utc={utc}
              onChoose={chooseDay}
            />
          </Suspense>
        </PartBoundary>
      )}
    </Paper>
  )
}

function DayButtons({
  days,
  chosen,
  isNarrow,
  onChoose,
}: {
  days: Day[]
  chosen: string | null
  isNarrow: boolean
  onChoose: (day: string) => void
}) {
  const [current, setCurrent] = useState(days.length - 1)
  const group = useRef<HTMLFieldSetElement>(null)
  const most = Math.max(1, ...days.map(({ rows }) => rows ?? 0))
  const moveTo = (index: number) => {
    const next = Math.min(days.length - 1, Math.max(0, index))
    setCurrent(next)
    group.current?.querySelectorAll('button')[next]?.focus()
  }
  // On a phone a column is a weekday: the first row begins where the first day falls.
  const lead = isNarrow ? (countDays(days[0]?.day ?? '1970-01-05') + 3) % 7 : 0
  return (
    <fieldset className={strip.days} ref={group}>
      <legend className={classes.hidden}>Last 30 days; arrow keys move from day to day</legend>
      {isNarrow &&
        WEEKDAYS.map((weekday) => (
          <span key={weekday} className={strip.weekday} aria-hidden="true">
            {weekday}
          </span>
        ))}
      {EMPTY_CELLS.slice(0, lead).map((cell) => (
        <span key={cell} />
      ))}
      {days.map((day, index) => (
        <UnstyledButton
          key={day.day}
          className={strip.day}
          data-mark={day.mark}
          tabIndex={index === current ? 0 : -1}
          aria-pressed={day.day === chosen}
          aria-label={describeDay(day)}
          title={describeDay(day)}
          onFocus={() => setCurrent(index)}
          onClick={() => onChoose(day.day)}
          onKeyDown={(event) => {
            const step = STEPS[event.key]
            if (step === undefined) return
            event.preventDefault()
            moveTo(step(index, days.length))
          }}
        >
          <span className={strip.bar} aria-hidden="true">
            <span style={{ height: `${((day.rows ?? 0) / most) * 100}%` }} />
          </span>
          <DaySign day={day} />
          <span className={strip.date} aria-hidden="true">
            {nameDate(day, index, isNarrow)}
          </span>
        </UnstyledButton>
      ))}
    </fieldset>
  )
}

const WEEKDAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']
const EMPTY_CELLS = ['a', 'b', 'c', 'd', 'e', 'f']

const STEPS: Record<string, (index: number, count: number) => number> = {
  ArrowLeft: (index) => index - 1,
  ArrowRight: (index) => index + 1,
  ArrowUp: (index) => index - 7,
  ArrowDown: (index) => index + 7,
  Home: () => 0,
  End: (_, count) => count - 1,
}

/** The day of the month; where there is room also the month, once at its beginning. */
function nameDate({ day }: Day, index: number, isNarrow: boolean): string {
  const date = String(Number(day.slice(8)))
  if (isNarrow || (index !== 0 && date !== '1')) return date
  return formatShortDay(day)
}

function DaySign({ day }: { day: Day }) {
  return (
    <span className={strip.sign} data-mark={day.mark}>
      {day.isPinned ? (
        <Icon name="pinned" size={13} />
      ) : (
        <Icon name={MARKS[day.mark].icon} size={13} />
      )}
      {day.mark === 'complete' && day.failed > 0 && <span className={strip.dot} />}
    </span>
  )
}

/** What the signs mean; only those that are there. */
function Legend({ days }: { days: Day[] }) {
  const marks = LEGEND.filter((mark) => days.some((day) => day.mark === mark))
  return (
    <ul className={strip.legend} aria-hidden="true">
      {marks.map((mark) => (
        <li key={mark}>
          <span className={strip.sign} data-mark={mark}>
            <Icon name={MARKS[mark].icon} size={13} />
          </span>
          {MARKS[mark].word}
        </li>
      ))}
      {days.some(({ isPinned }) => isPinned) && (
        <li>
          <span className={strip.sign} data-mark="complete">
            <Icon name="pinned" size={13} />
          </span>
          Pinned
        </li>
      )}
      {days.some((day) => day.mark === 'complete' && day.failed > 0) && (
        <li>
          <span className={strip.sign} data-mark="complete">
            <Icon name="check" size={13} />
            <span className={strip.dot} />
          </span>
          One of several failed
        </li>
      )}
    </ul>
  )
}

const LEGEND: DayMark[] = ['complete', 'damaged', 'running', 'failed', 'missed']

function TimelineSkeleton({ isNarrow }: { isNarrow: boolean }) {
  return <Skeleton radius="md" height={isNarrow ? 420 : 186} />
}
