import {
  Alert,
  Button,
  Code,
  CopyButton,
  Group,
  List,
  Paper,
  Radio,
  Table,
  Text,
  Title,
} from '@mantine/core'
import { type ReactNode, type RefObject, useEffect, useRef } from 'react'
import { KINDS } from '../backups/backup-words.ts'
import type { Backup } from '../backups/read-backups.ts'
import type { ErrorWords } from '../frame/describe-error.ts'
import { formatCount, formatDuration, formatPlural } from '../frame/format.ts'
import { Icon, type IconName } from '../frame/icons.tsx'
import { nameTable, technicalName } from '../frame/name-table.ts'
import shared from '../frame/page.module.css'
import { Time, useNow } from '../frame/times.tsx'
import {
  describeDecision,
  describeNote,
  describeObstacle,
  describeRestoreFailure,
  describeStep,
  type PhaseWords,
  placeOf,
} from './describe-restore.ts'
import classes from './restore.module.css'
import { type Answer, answersOf, type Decision } from './restore-decisions.ts'
import type { Blocker, Report, Step, TableResult } from './run-restore.ts'

/** Parts that restoring and undoing share. */

/** Puts the focus on the heading of a view or step when it comes, and its words into the window's title. */
export function useHeading(title: string, step: string): RefObject<HTMLHeadingElement | null> {
  const heading = useRef<HTMLHeadingElement>(null)
  // biome-ignore lint/correctness/useExhaustiveDependencies: another step is another place to be.
  useEffect(() => heading.current?.focus(), [step])
  useEffect(() => {
    document.title = title
  }, [title])
  return heading
}

/** The heading of a view or step: the place for the focus, see `useHeading`. */
export function ViewHeading({
  headingRef,
  id,
  children,
}: {
  headingRef: RefObject<HTMLHeadingElement | null>
  id?: string
  children: ReactNode
}) {
  return (
    <Title
      order={2}
      size="h3"
      id={id}
      ref={headingRef}
      tabIndex={-1}
      className={shared.focusTarget}
    >
      {children}
    </Title>
  )
}

export const STEPS = ['Choose', 'Validate', 'Confirm', 'Restore'] as const

/** Where one is of how far to go. Steps are no links: the buttons below lead on, and back. */
export function StepBar({
  current,
  isNarrow,
  steps = STEPS,
}: {
  current: number
  isNarrow: boolean
  steps?: readonly string[]
}) {
  if (isNarrow) {
    return (
      <div className={classes.stepLine}>
        <Text size="sm" fw={600}>
          {current < steps.length
            ? `Step ${current + 1} of ${steps.length}: ${steps[current]}`
            : `All ${steps.length} steps done`}
        </Text>
        <div className={classes.stepBar} aria-hidden="true">
          {steps.map((step, index) => (
            <span key={step} data-done={index <= current || undefined} />
          ))}
        </div>
      </div>
    )
  }
  return (
    <ol className={classes.steps} aria-label="Steps">
      {steps.map((step, index) => {
        const place = index < current ? 'done' : index === current ? 'now' : 'later'
        return (
          <li
            key={step}
            className={classes.step}
            data-place={place}
            aria-current={place === 'now' ? 'step' : undefined}
          >
            <span className={classes.stepMark} aria-hidden="true">
              {place === 'done' ? <Icon name="check" size={14} /> : index + 1}
            </span>
            {step}
            {place === 'done' && <span className={shared.hidden}> (done)</span>}
          </li>
        )
      })}
    </ol>
  )
}

/** What is restored from, the same on every step. */
export function Subject({ tenantName, backup }: { tenantName: string; backup: Backup }) {
  const parts = [
    tenantName,
    `${KINDS[backup.type]} backup`,
    `${formatPlural(backup.totalRecords ?? 0, 'row')} in ${formatPlural(backup.totalTables ?? 0, 'table')}`,
    ...(backup.name === null ? [] : [`“${backup.name}”`]),
  ]
  return (
    <Text c="dimmed" className={classes.subject}>
      {parts.join(' · ')}
    </Text>
  )
}

/** What went wrong, what it means for the data, and what to do. */
export function Problem({
  words,
  tone = 'bad',
  children,
}: {
  words: ErrorWords
  tone?: 'bad' | 'look'
  /** Buttons. */
  children?: ReactNode
}) {
  return (
    <Alert
      color={tone === 'bad' ? 'red' : 'yellow'}
      title={words.title}
      icon={<Icon name={tone === 'bad' ? 'cross' : 'attention'} />}
      role="alert"
    >
      <Text size="sm">{words.text}</Text>
      {(words.requestId !== undefined || children !== undefined) && (
        <Group mt="sm" gap="sm">
          {children}
          {words.requestId !== undefined && <RequestId id={words.requestId} />}
        </Group>
      )}
    </Alert>
  )
}

/** Instead of a view whose backup or restore is not there, or can't be read. */
export function NotThere({
  title,
  failure,
  error,
  onRetry,
  onClose,
}: {
  title: string
  /** What could not be done. */
  failure: string
  error: unknown
  onRetry: (() => void) | null
  onClose: () => void
}) {
  const heading = useHeading(title, 'not there')
  return (
    <section className={classes.view}>
      <ViewHeading headingRef={heading}>{title}</ViewHeading>
      <Problem words={describeRestoreFailure(error, failure)}>
        {onRetry !== null && (
          <Button size="xs" variant="default" onClick={onRetry}>
            Try again
          </Button>
        )}
        <Button size="xs" variant="default" onClick={onClose}>
          Back to backups
        </Button>
      </Problem>
    </section>
  )
}

/** What stands in the way, and no answer settles. */
export function Obstacles({
  title,
  obstacles,
  children,
}: {
  title: string
  obstacles: readonly Blocker[]
  children?: ReactNode
}) {
  return (
    <Alert color="red" icon={<Icon name="cross" />} title={title} role="alert">
      <List size="sm" spacing={4}>
        {obstacles.map((blocker) => (
          <List.Item key={`${blocker.code} ${blocker.table} ${blocker.constraint}`}>
            {describeObstacle(blocker)}
          </List.Item>
        ))}
      </List>
      {children}
    </Alert>
  )
}

function RequestId({ id }: { id: string }) {
  return (
    <Group gap="xs">
      <Text size="xs">
        Request <Code>{id}</Code>
      </Text>
      <CopyButton value={id}>
        {({ copied, copy }) => (
          <Button size="compact-xs" variant="default" onClick={copy}>
            {copied ? 'Copied' : 'Copy'}
          </Button>
        )}
      </CopyButton>
    </Group>
  )
}

/** One of several answers: what it is, and what it costs. */
export function Choice({
  value,
  label,
  trap,
  note,
}: {
  value: string
  label: string
  trap?: string
  /** Why it can't be taken, where it can't. */
  note?: string | undefined
}) {
  return (
    <Radio.Card
      value={value}
      className={classes.choice}
      aria-label={`${label}. ${trap ?? ''} ${note ?? ''}`.trim()}
      disabled={note !== undefined}
    >
      <Radio.Indicator className={classes.choiceMark} aria-hidden="true" />
      <span className={classes.choiceText}>
        <Text component="span" fw={500} display="block">
          {label}
        </Text>
        {trap !== undefined && (
          <Text component="span" size="sm" c="dimmed" display="block">
            {trap}
          </Text>
        )}
        {note !== undefined && (
          <Text component="span" size="sm" display="block">
            {note}
          </Text>
        )}
      </span>
    </Radio.Card>
  )
}

/** What has to be decided, the safe answer taken until somebody gives another one. */
export function DecisionPanel({
  decision,
  onAnswer,
}: {
  decision: Decision
  onAnswer: (answer: Answer) => void
}) {
  const { question, text, answers } = describeDecision(decision)
  const possible = answersOf(decision.kind)
  return (
    <Paper withBorder className={classes.decision}>
      <Radio.Group
        label={question}
        description={text}
        value={decision.answer ?? ''}
        onChange={(value) => {
          const answer = possible.find((known) => known === value)
          if (answer !== undefined) onAnswer(answer)
        }}
        error={decision.answer === null ? 'Choose one of these.' : undefined}
      >
        <FoundRows decision={decision} />
        <div className={classes.choices}>
          {answers.map((words) => (
            <Choice
              key={words.answer}
              value={words.answer}
              label={words.label}
              trap={words.trap}
              note={
                decision.ruledOut.includes(words.answer)
                  ? 'Tried: that is not possible here.'
                  : undefined
              }
            />
          ))}
        </div>
      </Radio.Group>
    </Paper>
  )
}

/** So many keys say which rows are meant; more would bury the question. */
const MOST_KEYS = 5

function FoundRows({ decision: { found, kind } }: { decision: Decision }) {
  if (kind === 'dropped' || kind === 'changed_type') return null
  return (
    <details className={classes.keys}>
      <summary>
        <Text component="span" size="sm">
          Which rows
        </Text>
      </summary>
      <ul className={classes.notes}>
        {found.map(({ table, constraint, count, keys }) => (
          <li key={`${table} ${constraint}`}>
            {nameTable(table)}: {formatPlural(count, 'row')}
            {keys.length > 0 && (
              <span className={classes.technical}>
                {keys
                  .slice(0, MOST_KEYS)
                  .map((key) => key.join(', '))
                  .join(' · ')}
                {count > MOST_KEYS ? ' …' : ''}
              </span>
            )}
          </li>
        ))}
      </ul>
    </details>
  )
}

const isTouched = (table: TableResult) =>
  table.inserted + table.updated + table.deleted > 0 || table.warnings.length > 0

/** What was, or would be, done to each table; those that are left alone are summed up. */
export function PlanTable({
  report,
  isUndo = false,
  isDone = false,
  isPartial,
  isNarrow,
}: {
  report: Report
  isUndo?: boolean
  isDone?: boolean
  /** What is not touched was not counted, or is of no concern. */
  isPartial: boolean
  isNarrow: boolean
}) {
  const touched = report.tables.filter(isTouched)
  const rest = report.tables.length - touched.length
  const head = isDone
    ? { inserted: 'Came back', updated: isUndo ? 'Put back' : 'Earlier values', deleted: 'Removed' }
    : { inserted: 'Come back', updated: isUndo ? 'Put back' : 'Earlier values', deleted: 'Removed' }
  const restText =
    rest === 0
      ? null
      : touched.length === 0
        ? `All ${formatPlural(rest, 'table')} stay as they are.`
        : `${formatPlural(rest, 'other table')} ${rest === 1 ? 'stays' : 'stay'} as ${rest === 1 ? 'it is' : 'they are'}.`
  if (touched.length === 0) {
    return restText === null ? null : (
      <Text size="sm" c="dimmed">
        {restText}
      </Text>
    )
  }
  return (
    <div className={classes.choices}>
      {isNarrow ? (
        <ul className={classes.planList}>
          {touched.map((table) => (
            <li key={table.name} className={classes.planItem}>
              <TableName name={table.name} />
              <Text size="sm" mt={4}>
                {[
                  [table.inserted, head.inserted],
                  [table.updated, head.updated],
                  [table.deleted, head.deleted],
                  [isPartial ? 0 : table.unchanged + table.kept, 'Not touched'],
                ]
                  .filter(([count]) => count !== 0)
                  .map(([count, word]) => `${word}: ${formatCount(Number(count))}`)
                  .join(' · ')}
              </Text>
              <Notes table={table} />
            </li>
          ))}
        </ul>
      ) : (
        <div className={classes.table}>
          <Table verticalSpacing="xs" horizontalSpacing="md">
            <caption className={shared.hidden}>
              {isDone ? 'What was done, by table' : 'What would happen, by table'}
            </caption>
            <Table.Thead>
              <Table.Tr>
                <Table.Th scope="col">Table</Table.Th>
                <Table.Th scope="col" className={classes.number}>
                  {head.inserted}
                </Table.Th>
                <Table.Th scope="col" className={classes.number}>
                  {head.updated}
                </Table.Th>
                <Table.Th scope="col" className={classes.number}>
                  {head.deleted}
                </Table.Th>
                {!isPartial && (
                  <Table.Th scope="col" className={classes.number}>
                    Not touched
                  </Table.Th>
                )}
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {touched.map((table) => (
                <Table.Tr key={table.name}>
                  <Table.Th scope="row" className={classes.planCell}>
                    <TableName name={table.name} />
                    <Notes table={table} />
                  </Table.Th>
                  <Count value={table.inserted} />
                  <Count value={table.updated} />
                  <Count value={table.deleted} />
                  {!isPartial && <Count value={table.unchanged + table.kept} isDimmed />}
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </div>
      )}
      {restText !== null && (
        <Text size="sm" c="dimmed">
          {restText}
        </Text>
      )}
    </div>
  )
}

function Count({ value, isDimmed = false }: { value: number; isDimmed?: boolean }) {
  return (
    <Table.Td className={classes.number}>
      <Text
        component="span"
        size="sm"
        fw={value > 0 && !isDimmed ? 600 : 400}
        {...(value === 0 || isDimmed ? { c: 'dimmed' } : {})}
      >
        {formatCount(value)}
      </Text>
    </Table.Td>
  )
}

/** The name of a table for people, with the one that the database knows. */
function TableName({ name }: { name: string }) {
  const technical = technicalName(name)
  return (
    <>
      <Text component="span" size="sm" fw={500} c="var(--mantine-color-text)">
        {nameTable(name)}
      </Text>
      {technical !== null && <span className={classes.technical}>{technical}</span>}
    </>
  )
}

function Notes({ table: { warnings } }: { table: TableResult }) {
  if (warnings.length === 0) return null
  return (
    <ul className={classes.notes}>
      {warnings.map((warning) => (
        <li key={warning}>
          <Text component="span" size="sm" fw={400}>
            {describeNote(warning)}
          </Text>
        </li>
      ))}
    </ul>
  )
}

/** A fact with its mark; a mark alone says nothing. */
export function Fact({
  icon,
  tone,
  children,
}: {
  icon: IconName
  tone?: 'good' | 'loss'
  children: ReactNode
}) {
  return (
    <li className={classes.fact}>
      <span className={classes.factMark} data-tone={tone}>
        <Icon name={icon} size={18} />
      </span>
      <span>{children}</span>
    </li>
  )
}

const SLOW_MS = 2 * 60_000
const SILENT_MS = 60_000
const SPEAK_EVERY_MS = 10_000

/** Long work, phase by phase, with what is known of each table. */
export function ProgressPanel({
  title,
  phases,
  step,
  tables,
  startedAt,
  heardAt,
  text,
  announce,
}: {
  title: string
  phases: readonly PhaseWords[]
  step: Step | null
  tables?: ReadonlyMap<string, Step>
  startedAt: Date
  heardAt?: Date
  /** What may be done meanwhile. */
  text: string
  announce: (text: string) => void
}) {
  const now = useNow(1_000)
  const elapsed = Math.max(0, now.getTime() - startedAt.getTime())
  const isSilent = heardAt !== undefined && now.getTime() - heardAt.getTime() > SILENT_MS
  const current = placeOf(phases, step?.phase)
  const detail = step === null ? null : describeStep(step)
  const label = phases[current]?.label
  const spokenAt = useRef(0)
  useEffect(() => {
    // A progress bar is silent by itself; more often than this would be chatter.
    if (Date.now() - spokenAt.current < SPEAK_EVERY_MS) return
    spokenAt.current = Date.now()
    announce(label === undefined ? title : `${title}: ${label}`)
  }, [title, label, announce])
  const inPhase = [...(tables ?? [])].filter(([, told]) => told.phase === step?.phase)

  return (
    <Paper withBorder className={classes.panel}>
      <Group justify="space-between" gap="sm" wrap="nowrap" align="flex-start">
        <Group gap={10} wrap="nowrap">
          <span className={shared.spin}>
            <Icon name="running" size={20} />
          </span>
          <Text fw={600}>{title}</Text>
        </Group>
        <Text size="sm" c="dimmed" className={classes.number}>
          {formatDuration(elapsed)}
        </Text>
      </Group>
      {phases.length > 0 && (
        <ol className={classes.phases}>
          {phases.map((phase, index) => {
            const place = index < current ? 'done' : index === current ? 'now' : 'later'
            const words = { done: 'done', now: 'under way', later: 'to come' }[place]
            return (
              <li
                key={phase.phase}
                className={classes.phase}
                data-place={place}
                aria-current={place === 'now' ? 'step' : undefined}
              >
                <span className={classes.phaseMark}>
                  {place === 'done' && <Icon name="check" size={14} />}
                </span>
                <span>
                  {phase.label}
                  <span className={shared.hidden}> ({words})</span>
                  {place === 'now' && <span className={classes.phaseDetail}>{detail}</span>}
                </span>
              </li>
            )
          })}
        </ol>
      )}
      {inPhase.length > 1 && (
        <ul className={classes.tableProgress} aria-label="Tables">
          {inPhase.map(([table, { rowsDone, rowsTotal }]) => (
            <li key={table}>
              <span>{nameTable(table)}</span>
              <span className={classes.number}>
                {formatCount(rowsDone)} of {formatCount(rowsTotal)}
              </span>
            </li>
          ))}
        </ul>
      )}
      <Text size="sm" c="dimmed">
        {isSilent
          ? 'Nothing was heard of it for a minute, so we could not confirm that it goes on. This page keeps asking.'
          : elapsed > SLOW_MS
            ? `Still working${detail === null ? '' : ` on ${nameTable(step?.table ?? '')}`}. Large tables take a while. ${text}`
            : text}
      </Text>
    </Paper>
  )
}

export function BackupTime({ backup }: { backup: Backup }) {
  return <Time value={backup.takenAt ?? backup.createdAt} />
}
