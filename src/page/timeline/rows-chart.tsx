import '@mantine/charts/styles.css'
import { CompositeChart } from '@mantine/charts'
import type { RecentBackup } from '../backups/read-backups.ts'
import {
  formatBytes,
  formatCount,
  formatDay,
  formatShortDay,
  formatTime,
  toDay,
} from '../frame/format.ts'
import { describeRows } from './describe-days.ts'

interface Point {
  day: string
  taken: string
  rows: number | null
  size: number | null
}

/** Rows and stored size of the complete backups, in the order of time. The list says the same in words. */
export default function RowsChart({
  className,
  backups,
  days,
  utc,
  onChoose,
}: {
  className?: string | undefined
  backups: RecentBackup[]
  days: string[]
  utc: boolean
  onChoose: (day: string) => void
}) {
  const complete = backups.filter(({ status }) => status === 'complete')
  const byDay = Map.groupBy(complete, (backup) => toDay(backup.createdAt, utc))
  // A day without one keeps its place, so that what failed or is missing leaves a gap.
  const data = days.flatMap((day): Point[] => {
    const ofDay = byDay.get(day) ?? []
    return ofDay.length === 0
      ? [{ day, taken: formatDay(day), rows: null, size: null }]
      : ofDay.map((backup) => ({
          day,
          taken: formatTime(backup.takenAt ?? backup.createdAt, { utc }),
          rows: backup.totalRecords,
          size: backup.totalSize,
        }))
  })
  const dayOf = new Map(data.map(({ taken, day }) => [taken, day]))
  return (
    <div role="img" aria-label={describeRows(complete)} className={className}>
      <CompositeChart
        h="100%"
        data={data}
        dataKey="taken"
        series={[
          { name: 'rows', label: 'Rows', type: 'bar', color: 'blue.5' },
          { name: 'size', label: 'Stored size', type: 'line', color: 'teal.7', yAxisId: 'right' },
        ]}
        withLegend
        withRightYAxis
        withPointLabels={false}
        curveType="linear"
        maxBarWidth={28}
        valueFormatter={(value) => formatCount(value)}
        xAxisProps={{ tickFormatter: (taken: string) => formatShortDay(dayOf.get(taken) ?? '') }}
        yAxisProps={{ tickFormatter: (value: number) => formatCount(value), width: 64 }}
        rightYAxisProps={{ tickFormatter: (value: number) => formatBytes(value), width: 72 }}
        composedChartProps={{
          accessibilityLayer: false,
          onClick: ({ activeTooltipIndex }) => {
            const chosen = data[Number(activeTooltipIndex)]
            if (chosen !== undefined) onChoose(chosen.day)
          },
        }}
      />
    </div>
  )
}
