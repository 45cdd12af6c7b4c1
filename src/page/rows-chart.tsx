import '@mantine/charts/styles.css'
import { CompositeChart } from '@mantine/charts'
import { describeMonthOfRows } from './describe-days.ts'
import { formatBytes, formatCount, formatTime, toDay } from './format.ts'
import type { RecentBackup } from './read-backups.ts'

/** Rows and stored size of the complete backups, in the order of time. The list says the same in words. */
export default function RowsChart({
  className,
  backups,
  from,
  utc,
  onChoose,
}: {
  className?: string | undefined
  backups: RecentBackup[]
  /** The first day shown. */
  from: string
  utc: boolean
  onChoose: (day: string) => void
}) {
  const complete = backups.filter(
    (backup) => backup.status === 'complete' && toDay(backup.createdAt, utc) >= from,
  )
  const data = complete.map((backup) => ({
    id: backup.id,
    day: toDay(backup.createdAt, utc),
    taken: formatTime(backup.takenAt ?? backup.createdAt, { utc }),
    rows: backup.totalRecords ?? 0,
    size: backup.totalSize ?? 0,
  }))
  return (
    <div role="img" aria-label={describeMonthOfRows(complete)} className={className}>
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
