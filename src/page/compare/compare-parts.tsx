import {
  Alert,
  Button,
  Checkbox,
  Code,
  CopyButton,
  Group,
  Paper,
  Skeleton,
  Text,
  Title,
  UnstyledButton,
} from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { type ReactNode, useEffect, useRef, useState } from 'react'
import type { PageServices } from '../calls/call-function.ts'
import { formatCount, formatDuration, formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import { nameTable } from '../frame/name-table.ts'
import shared from '../frame/page.module.css'
import { useNow } from '../frame/times.tsx'
import { readState } from '../state/read-state.ts'
import classes from './compare.module.css'
import {
  type Direction,
  describeKind,
  describeRemoved,
  describeStep,
  describeTicked,
  KINDS,
  type Totals,
} from './describe-comparison.ts'
import type { CompareStep, DifferenceKind } from './read-comparison.ts'
import type { Ticks } from './use-ticks.ts'

/** Without a word for this long, nobody knows whether the work goes on. */
const SILENT_MS = 2 * 60_000

/** How far a comparison is, while it runs. */
export function CompareProgress({
  step,
  startedAt,
  heardAt,
  isOutOfReach,
  announce,
  onAgain,
  whenSilent,
}: {
  step: CompareStep | null
  startedAt: Date
  heardAt: Date | null
  isOutOfReach: boolean
  announce: (text: string) => void
  onAgain: () => void
  /** What else one can do where nothing is heard any more. */
  whenSilent: ReactNode
}) {
  const now = useNow(1_000)
  const elapsed = Math.max(0, now.getTime() - startedAt.getTime())
  const isSilent = heardAt !== null && now.getTime() - heardAt.getTime() > SILENT_MS
  const words = describeStep(step)
  const spoken = useRef(0)
  useEffect(() => {
    // Each table in turn would be chatter.
    if (Date.now() - spoken.current < 10_000) return
    spoken.current = Date.now()
    announce(words)
  }, [words, announce])
  return (
    <>
      <Paper withBorder className={`${shared.card} ${classes.running}`}>
        <Group justify="space-between" gap="sm" align="flex-start" wrap="nowrap">
          <Group gap={12} wrap="nowrap" align="flex-start">
            <span className={shared.spin}>
              <Icon name="running" size={20} />
            </span>
            <div>
              <Text fw={600}>{words}</Text>
              <Text size="sm" c="dimmed" mt={4}>
                {isOutOfReach
                  ? 'No connection. The comparison goes on; this page catches up by itself.'
                  : 'Comparing only reads. Nobody is interrupted, and nothing is changed.'}
              </Text>
            </div>
          </Group>
          <Text size="sm" c="dimmed" className={shared.number}>
            {formatDuration(elapsed)}
          </Text>
        </Group>
        {isSilent && (
          <Alert color="yellow" mt="md" icon={<Icon name="attention" />}>
            <Text size="sm">
              Nothing was heard of this comparison for {formatDuration(SILENT_MS)}: most likely it
              took too long and was ended.
            </Text>
            <Button size="xs" variant="default" mt="sm" onClick={onAgain}>
              Compare again
            </Button>
          </Alert>
        )}
      </Paper>
      {isSilent && whenSilent}
    </>
  )
}

/** Stands where the result will be, as high as it. */
export function ComparisonSkeleton() {
  return (
    <div className={classes.view} role="status" aria-label="Loading the comparison">
      <div className={classes.totals}>
        {KINDS.map((kind) => (
          <Skeleton key={kind} height={72} radius="md" />
        ))}
      </div>
      <Skeleton height={36} radius="md" maw={420} />
      <Skeleton height={224} radius="md" />
    </div>
  )
}

/** How many rows are missing, changed, newer; each a button that shows only these. */
export function CompareTotals({
  totals,
  direction,
  kind,
  onKind,
}: {
  totals: Totals
  direction: Direction
  kind: DifferenceKind | null
  onKind: (kind: DifferenceKind | null) => void
}) {
  return (
    <fieldset className={classes.totals}>
      <legend className={shared.hidden}>Rows that differ; choose a kind to see only these</legend>
      {KINDS.map((each) => {
        const { word, meaning, icon, colour } = describeKind(each, direction)
        const count = totals.byKind[each]
        return (
          <UnstyledButton
            key={each}
            className={classes.total}
            aria-pressed={kind === each}
            disabled={count === 0}
            onClick={() => onKind(kind === each ? null : each)}
          >
            <span className={classes.totalMark} data-colour={count === 0 ? 'gray' : colour}>
              <Icon name={icon} size={18} />
            </span>
            <span>
              <span className={classes.totalNumber}>{formatCount(count)}</span>
              <span className={classes.totalWord}>{word.toLowerCase()}</span>
              <span className={classes.totalMeaning}>{meaning}</span>
            </span>
          </UnstyledButton>
        )
      })}
    </fieldset>
  )
}

/** Which rows are ticked, and the button that takes them to the restore. */
export function TickedBar({
  ticks,
  isOverLimit,
  limit,
  onRestore,
}: {
  ticks: Ticks
  isOverLimit: boolean
  limit: number
  onRestore: () => void
}) {
  const removed = describeRemoved(ticks.rows)
  return (
    <section className={classes.bar} aria-label="Ticked rows">
      <div className={classes.barText}>
        <Text fw={600} size="sm">
          {describeTicked(ticks.count, ticks.tables)}
        </Text>
        {removed !== null && (
          <Text size="xs" c="dimmed">
            {removed}
          </Text>
        )}
        {isOverLimit && (
          <Text size="xs" c="red" role="alert">
            At most {formatCount(limit)} rows can be ticked. For more, restore whole tables.
          </Text>
        )}
        {!ticks.isKept && (
          <Text size="xs" c="red" role="alert">
            Your browser keeps nothing for this page, so the rows can't be taken to a restore. Allow
            it to store data, then tick them again.
          </Text>
        )}
      </div>
      <div className={classes.barActions}>
        <Button variant="default" onClick={ticks.clear}>
          Clear
        </Button>
        <Button onClick={onRestore} disabled={!ticks.isKept}>
          {ticks.count === 1
            ? 'Restore this row'
            : `Restore these ${formatPlural(ticks.count, 'row')}`}
        </Button>
      </div>
    </section>
  )
}

/** What to do where all tables together take longer than a function may: fewer at once, or the command line. */
export function TooLong({
  services,
  tenantId,
  backupId,
  withId,
  onCompare,
}: {
  services: PageServices
  tenantId: string
  backupId: string
  withId: string | null
  onCompare: (tables: string[]) => void
}) {
  const [chosen, setChosen] = useState<string[]>([])
  const [isAsked, setAsked] = useState(false)
  const state = useQuery({
    queryKey: ['state', tenantId],
    queryFn: ({ signal }) => readState(services, tenantId, signal),
  })
  const command = [
    'npm run -s tenantkeep -- compare',
    `--tenant ${tenantId} --backup ${backupId}`,
    ...(withId === null ? [] : [`--with ${withId}`]),
    '--rows',
  ].join(' ')
  return (
    <Paper withBorder className={`${shared.card} ${classes.long}`} role="alert">
      <span className={classes.totalMark} data-colour="yellow">
        <Icon name="attention" size={20} />
      </span>
      <div>
        <Title order={3} size="h4">
          All tables at once take longer than this page may
        </Title>
        <Text size="sm" mt={4}>
          Nothing was changed. Compare fewer tables at once; those with few rows are quickest.
        </Text>
        {state.data === undefined ? (
          <Skeleton height={160} mt="md" radius="sm" />
        ) : (
          <Checkbox.Group
            mt="md"
            label="Which tables?"
            value={chosen}
            onChange={setChosen}
            error={isAsked && chosen.length === 0 ? 'Tick at least one table' : null}
          >
            <div className={classes.choices}>
              {state.data.tables.toSorted(byName).map(({ name }) => (
                <Checkbox key={name} value={name} label={nameTable(name)} />
              ))}
            </div>
          </Checkbox.Group>
        )}
        <Button
          mt="md"
          onClick={() => {
            setAsked(true)
            if (chosen.length > 0) onCompare(chosen)
          }}
        >
          {chosen.length === 0
            ? 'Compare these tables'
            : `Compare ${formatPlural(chosen.length, 'table')}`}
        </Button>
        <Text size="sm" mt="lg">
          Or ask your administrator to compare everything on a machine that has no such limit:
        </Text>
        <Code block mt={8} className={classes.command}>
          {command}
        </Code>
        <CopyButton value={command}>
          {({ copied, copy }) => (
            <Button mt={8} size="xs" variant="default" onClick={copy}>
              {copied ? 'Copied' : 'Copy'}
            </Button>
          )}
        </CopyButton>
      </div>
    </Paper>
  )
}

function byName(one: { name: string }, other: { name: string }): number {
  return nameTable(one.name).localeCompare(nameTable(other.name))
}
