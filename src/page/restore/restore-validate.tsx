import { Alert, Button, Text, Title } from '@mantine/core'
import { useEffect, useRef } from 'react'
import { formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import {
  describeChanges,
  describeRestoreFailure,
  describeSchemaNote,
  REHEARSAL_PHASES,
} from './describe-restore.ts'
import classes from './restore.module.css'
import { type Answer, isOpen } from './restore-decisions.ts'
import { DecisionPanel, Obstacles, PlanTable, Problem, ProgressPanel } from './restore-parts.tsx'
import type { ValidationState } from './use-validation.ts'
import { addUp, isReady, type Validation } from './validate-restore.ts'

interface ValidateStepProps {
  state: ValidationState
  isNarrow: boolean
  announce: (text: string) => void
  onAnswer: (before: Validation, id: string, answer: Answer) => void
  onAgain: () => void
  /** What a plan said that went stale before it was carried out. */
  stale: string | null
  onBack: () => void
  onClose: () => void
  onNext: (plan: Validation) => void
}

/** What would happen, table by table, and what has to be decided. Nothing is written. */
export function ValidateStep(props: ValidateStepProps) {
  const { state, isNarrow, announce, onAgain, onBack, onClose } = props
  if (state.status === 'failed') {
    return (
      <>
        <Problem words={describeRestoreFailure(state.error, 'It could not be validated')}>
          <Button size="xs" variant="default" onClick={onAgain}>
            Try again
          </Button>
        </Problem>
        <div className={classes.actions}>
          <Button variant="default" size="md" onClick={onClose} className={classes.actionsStart}>
            Back to backups
          </Button>
          <Button variant="default" size="md" onClick={onBack}>
            Choose differently
          </Button>
        </div>
      </>
    )
  }
  if (state.status !== 'done') {
    const running = state.status === 'running' ? state : null
    return (
      <>
        <ProgressPanel
          title={running?.before ? 'Validating with your answer' : 'Validating'}
          phases={REHEARSAL_PHASES}
          step={running?.step ?? null}
          startedAt={running?.startedAt ?? new Date()}
          text={WAITS[running?.wait ?? 'none']}
          announce={announce}
        />
        <div className={classes.actions}>
          <Button variant="default" size="md" onClick={onBack}>
            Back
          </Button>
        </div>
      </>
    )
  }
  return <Plan {...props} plan={state.validation} isNarrow={isNarrow} />
}

const WAITS = {
  none: 'Nothing is written: what is tried out is taken back.',
  busy: 'Another backup or restore of this tenant is at work; it is waited for. Nothing is written.',
  line: 'No connection. This page catches up by itself. Nothing is written.',
}

function Plan({
  plan,
  isNarrow,
  announce,
  stale,
  onAnswer,
  onAgain,
  onBack,
  onClose,
  onNext,
}: ValidateStepProps & { plan: Validation }) {
  const { report, decisions, obstacles } = plan
  const totals = addUp(report, plan)
  const open = decisions.filter(isOpen)
  const ready = isReady(plan)
  const isNothing = ready && totals.written === 0
  const isPossible = obstacles.length === 0
  const notes = report.schemaChanges.flatMap((change) => describeSchemaNote(change) ?? [])
  const openPanel = useRef<HTMLDivElement>(null)
  const summary = isPossible
    ? isNothing
      ? 'Nothing to restore.'
      : describeChanges(totals, { tense: 'would', isUndo: false })
    : 'This restore is not possible.'
  useEffect(() => announce(`Validated. ${summary}`), [announce, summary])

  return (
    <>
      {stale !== null && (
        <Alert
          color="yellow"
          icon={<Icon name="attention" />}
          title="Your data changed since validation"
        >
          <Text size="sm">Nothing was written. It was validated again.</Text>
          <Text size="sm">Before: {stale}</Text>
        </Alert>
      )}
      {!isPossible ? (
        <Obstacles title="This restore is not possible" obstacles={obstacles}>
          <Text size="sm" mt="sm">
            Nothing was written.
          </Text>
        </Obstacles>
      ) : isNothing ? (
        <Alert color="green" icon={<Icon name="check" />} title="There is nothing to restore">
          {decisions.length === 0
            ? 'Your data already matches this backup in everything that you chose.'
            : 'With the answers below, nothing is left that would come back or change.'}
        </Alert>
      ) : (
        <div>
          <Title order={3} size="h4" className={classes.headline}>
            {summary}
          </Title>
          <Text size="sm" c="dimmed" mt={4}>
            Nothing has been written yet.
          </Text>
        </div>
      )}
      {isPossible && !isNothing && (
        <PlanTable report={report} isPartial={plan.isPartial} isNarrow={isNarrow} />
      )}
      {isPossible && decisions.length > 0 && (
        <div className={classes.choices} ref={openPanel}>
          <Title order={3} size="h4">
            {formatPlural(decisions.length, 'decision')}
          </Title>
          <Text size="sm" c="dimmed">
            The safe answers are taken. Another one validates again.
          </Text>
          {decisions.map((decision) => (
            <DecisionPanel
              key={decision.id}
              decision={decision}
              onAnswer={(answer) => onAnswer(plan, decision.id, answer)}
            />
          ))}
        </div>
      )}
      {isPossible && notes.length > 0 && (
        <Alert color="gray" icon={<Icon name="attention" />} title="Your tables have changed since">
          <ul className={classes.notes}>
            {notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </Alert>
      )}
      {isPossible && open.length > 0 && (
        <Text size="sm" role="status">
          Answer {open.length === 1 ? 'the open decision' : `the ${open.length} open decisions`} in
          another way to go on.
        </Text>
      )}
      <div className={classes.actions}>
        <Button variant="subtle" size="md" onClick={onAgain} className={classes.actionsStart}>
          Validate again
        </Button>
        {isNothing || !isPossible ? (
          <>
            <Button variant="default" size="md" onClick={onClose}>
              Back to backups
            </Button>
            <Button size="md" onClick={onBack}>
              Choose differently
            </Button>
          </>
        ) : (
          <>
            <Button variant="default" size="md" onClick={onBack}>
              Back
            </Button>
            <Button
              size="md"
              onClick={() => {
                if (ready) onNext(plan)
                else openPanel.current?.querySelector<HTMLElement>('[role="radio"]')?.focus()
              }}
            >
              Next: confirm
            </Button>
          </>
        )}
      </div>
    </>
  )
}
