import { Alert, Button, List, NativeSelect, Paper, Radio, Text } from '@mantine/core'
import { useEffect, useRef, useState } from 'react'
import { formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import { Nothing } from '../frame/list-parts.tsx'
import shared from '../frame/page.module.css'
import restore from '../restore/restore.module.css'
import { Choice } from '../restore/restore-parts.tsx'
import classes from './defaults.module.css'
import { DefaultsFailure } from './defaults-failure.tsx'
import {
  answerOf,
  answerWithout,
  describeCase,
  describeObstacle,
  describeTotals,
  describeVerdicts,
  findQuestions,
  isOpen,
  type Picks,
  type Question,
  type QuestionRow,
  sumUp,
} from './describe-seeding.ts'
import { type Mode, type SeedOutcome, type SeedRun, Verdict } from './read-seeding.ts'
import { hasNewPicks, type SeedDraft } from './seed-draft.ts'
import { OutcomeTable, SeedProgress } from './seed-parts.tsx'
import type { SeedViewProps } from './seed-view.tsx'
import type { SeedState } from './use-seeding.ts'

interface SeedRehearseProps extends SeedViewProps {
  draft: SeedDraft
  state: SeedState
  /** What earlier rehearsals of the same asked. */
  questions: readonly Question[]
  /** What a rehearsal showed held no longer. */
  isStale: boolean
  onQuestions: (found: readonly Question[]) => void
  onPick: (picks: Picks) => void
  onAgain: () => void
  /** Only these tenants, rehearsed again. */
  onOnly: (tenants: { id: string; name: string }[]) => void
  onBack: () => void
  onNext: (planHash: string) => void
}

/** What the seeding would do to each tenant, and what somebody has to decide before. */
export function SeedRehearse(props: SeedRehearseProps) {
  const { state, isStale, onAgain, onBack } = props
  return (
    <>
      {isStale && (
        <Alert
          color="yellow"
          icon={<Icon name="attention" />}
          title="Something changed since the rehearsal"
          role="alert"
        >
          Nothing was written. This is how it stands now.
        </Alert>
      )}
      {state.kind === 'working' ? (
        <SeedProgress {...props} title="Rehearsing" state={state} />
      ) : state.kind === 'ended' ? (
        <Plan {...props} key={state.run.runId} run={state.run} />
      ) : (
        <>
          <DefaultsFailure error={state.error} what="The rehearsal did not come to an end" />
          <div className={restore.actions}>
            <Button variant="default" size="md" onClick={onBack}>
              Back
            </Button>
            <Button size="md" onClick={onAgain}>
              Rehearse again
            </Button>
          </div>
        </>
      )}
    </>
  )
}

/** What has to be left out before the others can go on. */
function isBlocked({ status, result }: SeedOutcome): boolean {
  return status === 'failed' || (result?.blockers.length ?? 0) > 0
}

function Plan(props: SeedRehearseProps & { run: SeedRun }) {
  const { run, draft, defaults, isNarrow, announce, onQuestions, onAgain, onBack, onNext } = props
  const { mode, picks } = draft
  const [isChecked, setChecked] = useState(false)
  const list = useRef<HTMLDivElement>(null)
  const earlier = useRef(props.questions)
  const [questions] = useState(() =>
    findQuestions(run.tenants, {
      mode,
      templateId: defaults.template.id,
      known: earlier.current,
    }),
  )
  const tell = useRef(onQuestions)
  useEffect(() => tell.current(questions), [questions])
  const totals = sumUp(run.tenants)
  const blocked = run.tenants.filter(isBlocked)
  const others = run.tenants.filter((tenant) => !isBlocked(tenant) && tenant.status === 'complete')
  const open = questions.filter((question) => isOpen(question, picks, mode))
  const isNew = hasNewPicks(draft)
  const written = totals.inserted + totals.updated + totals.adopted
  const hasNothing = written === 0 && questions.length === 0 && blocked.length === 0
  const undecided = run.tenants.reduce((sum, { result }) => sum + (result?.conflictCount ?? 0), 0)
  const summary = describeTotals(totals, { isDone: false })
  useEffect(() => {
    announce(
      `Rehearsed. ${summary}${undecided > 0 ? ` ${formatPlural(undecided, 'row')} to be decided.` : ''}`,
    )
  }, [announce, summary, undecided])

  const next = () => {
    setChecked(true)
    if (open.length > 0) {
      list.current
        ?.querySelector<HTMLElement>('[data-open] [role="radio"], [data-open] input')
        ?.focus()
    } else if (isNew) onAgain()
    else if (run.planHash !== null) onNext(run.planHash)
  }
  return (
    <>
      {blocked.length > 0 && <Blocked {...props} blocked={blocked} others={others} />}
      <div>
        <Text className={restore.headline}>
          {hasNothing ? 'These tenants have all of the defaults. There is nothing to do.' : summary}
        </Text>
        {undecided > 0 && (
          <Text size="sm" mt={4}>
            {formatPlural(undecided, 'row')} {undecided === 1 ? 'needs' : 'need'} a decision first;
            without it nothing is written to {undecided === 1 ? 'that tenant' : 'those tenants'}.
          </Text>
        )}
      </div>
      {questions.length > 0 && (
        <div className={classes.versions} ref={list}>
          {questions.map((question) => (
            <QuestionPanel
              key={question.id}
              {...props}
              question={question}
              isMissed={isChecked && open.includes(question)}
            />
          ))}
        </div>
      )}
      <OutcomeTable
        tenants={run.tenants}
        caption="What would happen, by tenant"
        isDone={false}
        isNarrow={isNarrow}
      />
      <div className={restore.foot}>
        <div className={restore.actions}>
          <Button variant="default" size="md" onClick={onBack}>
            Back
          </Button>
          {!hasNothing && blocked.length === 0 && (
            <Button size="md" onClick={next}>
              {isNew || open.length > 0 ? 'Rehearse with these decisions' : 'Next: confirm'}
            </Button>
          )}
        </div>
        {!hasNothing && (
          <Text size="sm" c="dimmed" className={restore.footNote}>
            Nothing was written yet.
          </Text>
        )}
      </div>
    </>
  )
}

function Blocked({
  blocked,
  others,
  onOnly,
}: Pick<SeedRehearseProps, 'onOnly'> & { blocked: SeedOutcome[]; others: SeedOutcome[] }) {
  return (
    <Alert
      color="red"
      icon={<Icon name="cross" />}
      title={`${formatPlural(blocked.length, 'tenant')} can’t be seeded like this`}
      role="alert"
    >
      <List size="sm" spacing={4}>
        {blocked.map(({ id, name, error, result }) => (
          <List.Item key={id}>
            <strong>{name}</strong>:{' '}
            {error !== null
              ? describeObstacle(error.code, error.message)
              : [...new Set(result?.blockers.map(({ message }) => message))].join(' ')}
          </List.Item>
        ))}
      </List>
      {others.length > 0 && (
        <Button
          mt="sm"
          size="xs"
          variant="default"
          onClick={() => onOnly(others.map(({ id, name }) => ({ id, name })))}
        >
          Leave {blocked.length === 1 ? 'it' : 'them'} out and rehearse again
        </Button>
      )}
    </Alert>
  )
}

/** What becomes of the rows of a table that stand the same way, and of single ones where they shall differ. */
function QuestionPanel({
  question,
  draft: { picks, mode },
  onPick,
  isMissed,
}: Pick<SeedRehearseProps, 'draft' | 'onPick'> & { question: Question; isMissed: boolean }) {
  const answer = answerOf(picks, question, null, mode)
  const verdicts = describeVerdicts(question.case)
  const pick = (id: string, value: string) => {
    const { [id]: _, ...others } = picks
    const verdict = Verdict.safeParse(value)
    onPick(verdict.success ? { ...others, [id]: verdict.data } : others)
  }
  return (
    <Paper withBorder className={restore.decision} data-open={isMissed || undefined}>
      <Radio.Group
        label={describeCase(question.case, question.table, rowsOf(question), question.tenants)}
        description={
          question.isConflict
            ? 'Somebody has to decide. The answer holds for all tenants that were chosen.'
            : 'Left as it is unless you say otherwise.'
        }
        error={isMissed ? 'Choose one of these, here or row by row' : undefined}
        value={answer ?? ''}
        onChange={(value) => pick(question.id, value)}
      >
        <div className={classes.verdicts}>
          {verdicts.map(({ verdict, label, trap }) => (
            <Choice key={verdict} value={verdict} label={label} trap={trap} />
          ))}
        </div>
      </Radio.Group>
      {question.rows.length > 0 && (
        <details className={classes.rowByRow} open={question.rows.length <= 3}>
          <summary>
            {question.rows.length === 1 ? 'The row' : 'Row by row'}: what the tenant has, and what
            the template has
          </summary>
          <ul>
            {question.rows.map((row) => (
              <li key={row.id}>
                <RowQuestion
                  row={row}
                  question={question}
                  picks={picks}
                  mode={mode}
                  onPick={(value) => pick(row.id, value)}
                />
              </li>
            ))}
          </ul>
        </details>
      )}
    </Paper>
  )
}

const rowsOf = ({ rows, count }: Question) => (rows.length > 0 ? rows.length : count)

/** So many tenants are shown beside each other; the others are counted. */
const MOST_TENANTS = 5

function RowQuestion({
  row,
  question,
  picks,
  mode,
  onPick,
}: {
  row: QuestionRow
  question: Question
  picks: Picks
  mode: Mode
  onPick: (value: string) => void
}) {
  const inherited = picks[question.id] ?? answerWithout(question, mode)
  const verdicts = describeVerdicts(question.case)
  const label = verdicts.find(({ verdict }) => verdict === inherited)?.label
  return (
    <>
      <div className={classes.rowQuestion}>
        <Text size="sm" fw={600} className={classes.value}>
          {row.name}
        </Text>
        {question.rows.length > 1 && (
          <NativeSelect
            size="xs"
            aria-label={`Decision about ${row.name}`}
            value={picks[row.id] ?? ''}
            onChange={(event) => onPick(event.currentTarget.value)}
            data={[
              { value: '', label: label === undefined ? 'As above' : `As above: ${label}` },
              ...verdicts.map((choice) => ({ value: choice.verdict, label: choice.label })),
            ]}
          />
        )}
      </div>
      {row.found.slice(0, MOST_TENANTS).map(({ tenant, columns }) => (
        <div key={tenant} className={classes.found}>
          {columns.length === 0 ? (
            <Text size="sm" c="dimmed">
              {tenant}: the same values
            </Text>
          ) : (
            <table>
              <caption>{tenant}</caption>
              <thead>
                <tr>
                  <th scope="col">Column</th>
                  <th scope="col">Tenant</th>
                  <th scope="col">Template</th>
                </tr>
              </thead>
              <tbody>
                {columns.map((column) => (
                  <tr key={column.name}>
                    <th scope="row">{column.name}</th>
                    <td>
                      <Cell value={column.tenant} isMasked={column.isMasked} />
                    </td>
                    <td>
                      <Cell value={column.template} isMasked={column.isMasked} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </div>
      ))}
      {row.found.length > MOST_TENANTS && (
        <Text size="sm" c="dimmed">
          and {formatPlural(row.found.length - MOST_TENANTS, 'other tenant')}
        </Text>
      )}
    </>
  )
}

function Cell({ value, isMasked }: { value: string | null; isMasked: boolean }) {
  if (isMasked) {
    return (
      <>
        <span aria-hidden="true">•••••</span>
        <span className={shared.hidden}>not shown</span>
      </>
    )
  }
  return value === null ? <Nothing /> : value
}
