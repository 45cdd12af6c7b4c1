import { Alert, Button, Modal, Paper, Radio, Skeleton, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useCallback, useEffect, useRef, useState } from 'react'
import { RequestFailed } from '../calls/call-function.ts'
import { Icon } from '../frame/icons.tsx'
import { Time } from '../frame/times.tsx'
import { TypedWord, useTypedWord } from '../frame/typed-word.tsx'
import { setSearchParams, useSearchParam } from '../frame/use-search-param.ts'
import { useViewerId } from '../frame/use-viewer-id.ts'
import type { ViewProps } from '../frame/view-props.ts'
import { describeChanges, describeRestoreFailure, REHEARSAL_PHASES } from './describe-restore.ts'
import { nounOf, type Restore, readRestore } from './read-restore.ts'
import classes from './restore.module.css'
import {
  FIRST_DRAFT,
  keepDraft,
  keepStarted,
  keepStartedRun,
  keyOf,
  placeOfWay,
  readStarted,
  reopenDraft,
} from './restore-choices.ts'
import { conflictAnswer, type Decision } from './restore-decisions.ts'
import {
  Choice,
  DecisionPanel,
  Fact,
  NotThere,
  Obstacles,
  PlanTable,
  Problem,
  ProgressPanel,
  useHeading,
  ViewHeading,
} from './restore-parts.tsx'
import { RestoreRunPanel } from './restore-run-panel.tsx'
import type { Errand } from './run-restore.ts'
import { useDraft } from './use-draft.ts'
import type { Launch } from './use-restore-run.ts'
import { useValidation } from './use-validation.ts'
import { addUp, isReady, toReal, type Validation } from './validate-restore.ts'

/**
 * Takes a restore back. What it would do is rehearsed as soon as the view opens; only the last button, in
 * the question at the end, writes.
 */
export default function UndoView(props: ViewProps) {
  const { services } = props
  const [restoreId] = useSearchParam('restore')
  const viewer = useViewerId(services)
  if (viewer === null) return <Waiting />
  return (
    <Way
      {...props}
      key={restoreId}
      restoreId={restoreId}
      place={placeOfWay(viewer, restoreId ?? '')}
    />
  )
}

interface WayProps extends ViewProps {
  restoreId: string | null
  place: string
}

function Way(props: WayProps) {
  const { services, restoreId, place, onClose } = props
  const [runId] = useSearchParam('run')
  const [launch, setLaunch] = useState<Launch | null>(null)
  const restore = useQuery({
    queryKey: ['restore', restoreId],
    queryFn: ({ signal }) => readRestore(services, restoreId ?? '', signal),
    enabled: restoreId !== null,
  })
  const started = readStarted(place)
  const lostKey = started !== null && started.runId === null ? started.key : null

  if (runId !== null || lostKey !== null) {
    return (
      <RestoreRunPanel
        {...props}
        key={launch?.key ?? lostKey ?? runId}
        isUndo
        undone={restore.data ?? null}
        backup={null}
        launch={launch}
        lostKey={lostKey}
        runId={runId}
        onRun={(run) => {
          keepStartedRun(place, run)
          setSearchParams({ run }, 'replace')
        }}
        onComplete={() => keepDraft(place, null)}
        onBack={(isStale) => {
          reopenDraft(place, { isStale })
          setLaunch(null)
          setSearchParams({ run: null }, 'replace')
        }}
      />
    )
  }
  if (restore.data != null) {
    return <UndoPlan {...props} restore={restore.data} onLaunch={setLaunch} />
  }
  if (restore.isPending && restoreId !== null) return <Waiting />
  return (
    <NotThere
      title="Undo of a restore"
      failure="The restore could not be read"
      error={restore.error ?? new RequestFailed('restore_not_found', 'There is no such restore.')}
      onRetry={restore.isError ? () => void restore.refetch() : null}
      onClose={onClose}
    />
  )
}

function Waiting() {
  return (
    <div className={classes.view} role="status" aria-label="Loading">
      <Skeleton height={28} width={300} maw="100%" />
      <Skeleton height={320} radius="md" />
    </div>
  )
}

type Reach = 'restored' | 'everything'

function UndoPlan(props: WayProps & { restore: Restore; onLaunch: (launch: Launch) => void }) {
  const { services, tenant, restore, place, isNarrow, announce, onClose, onLaunch } = props
  const [reach, setReach] = useState<Reach>('restored')
  const [draft, changeDraft] = useDraft(place, FIRST_DRAFT)
  const [isAsking, setAsking] = useState(false)
  const heading = useHeading(`Undo a restore – ${tenant.name}`, 'undo')
  const { state, start, answer } = useValidation({
    services,
    isUndo: true,
    isPartial: true,
    draft,
    changeDraft,
  })

  const toErrand = useCallback(
    (decisions: readonly Decision[]): Errand => {
      const on_conflict = conflictAnswer(decisions)
      return {
        name: 'undo-restore',
        body: {
          organization_id: tenant.id,
          restore_id: restore.id,
          everything: reach === 'everything',
          ...(on_conflict === undefined ? {} : { on_conflict }),
          dry_run: true,
        },
      }
    },
    [tenant.id, restore.id, reach],
  )
  useEffect(() => start(toErrand, { isAnew: false }), [start, toErrand])

  const plan = state.status === 'done' ? state.validation : null
  const summary = plan === null ? null : summarize(plan)
  useEffect(() => {
    if (summary !== null) announce(`Compared. ${summary}`)
  }, [announce, summary])

  const undo = (validation: Validation) => {
    const { planHash } = validation.report
    const key = keyOf(draft, planHash)
    changeDraft({ key: { planHash, key }, stale: summarize(validation) })
    keepStarted(place, { key, runId: null })
    onLaunch({ key, errand: toReal(validation, key) })
  }

  return (
    <section className={classes.view} aria-labelledby="tenantkeep-undo">
      <div>
        <ViewHeading id="tenantkeep-undo" headingRef={heading}>
          Undo the {nounOf(restore)} of <Time value={restore.completedAt ?? restore.createdAt} />
        </ViewHeading>
        <Text c="dimmed" className={classes.subject}>
          {tenant.name} · by {restore.actorLabel}
          {restore.takenAt !== null && restore.type === 'restore' && (
            <>
              {' '}
              · it went back to <Time value={restore.takenAt} />
            </>
          )}
          {restore.note !== null && <> · “{restore.note}”</>}
        </Text>
      </div>
      {draft.stale !== null && plan !== null && (
        <Alert
          color="yellow"
          icon={<Icon name="attention" />}
          title="Your data changed since it was compared"
        >
          <Text size="sm">Nothing was written. It was compared again.</Text>
          <Text size="sm">Before: {draft.stale}</Text>
        </Alert>
      )}
      <Paper withBorder className={classes.panel}>
        <Radio.Group
          label="How far back?"
          classNames={{ label: classes.legend }}
          value={reach}
          onChange={(value) => setReach(value === 'everything' ? 'everything' : 'restored')}
        >
          <div className={classes.choices}>
            <Choice
              value="restored"
              label="Only what the restore did"
              trap="What people wrote since stays."
            />
            <Choice
              value="everything"
              label="Everything, to just before the restore"
              trap="Also drops what was written since, and keeps it in a new safety backup."
            />
          </div>
        </Radio.Group>
      </Paper>
      {state.status === 'failed' ? (
        <>
          <Problem words={describeRestoreFailure(state.error, 'It could not be compared')}>
            <Button size="xs" variant="default" onClick={() => start(toErrand, { isAnew: true })}>
              Try again
            </Button>
          </Problem>
          <div className={classes.actions}>
            <Button variant="default" size="md" onClick={onClose}>
              Back to backups
            </Button>
          </div>
        </>
      ) : plan === null ? (
        <>
          <ProgressPanel
            title="Looking at what would be taken back"
            phases={REHEARSAL_PHASES}
            step={state.status === 'running' ? state.step : null}
            startedAt={state.status === 'running' ? state.startedAt : new Date()}
            text={
              state.status === 'running' && state.wait === 'busy'
                ? 'Another backup or restore of this tenant is at work; it is waited for. Nothing is written.'
                : state.status === 'running' && state.wait === 'line'
                  ? 'No connection. This page catches up by itself. Nothing is written.'
                  : 'Nothing is written.'
            }
            announce={announce}
          />
          <div className={classes.actions}>
            <Button variant="default" size="md" onClick={onClose}>
              Cancel
            </Button>
          </div>
        </>
      ) : (
        <Planned
          plan={plan}
          isNarrow={isNarrow}
          onAnswer={answer}
          onClose={onClose}
          onUndo={() => setAsking(true)}
        />
      )}
      {plan !== null && (
        <UndoQuestion
          isOpen={isAsking}
          tenantName={tenant.name}
          restore={restore}
          reach={reach}
          plan={plan}
          onCancel={() => setAsking(false)}
          onUndo={() => undo(plan)}
        />
      )}
    </section>
  )
}

function summarize({ report }: Validation): string {
  return describeChanges(addUp(report, { isPartial: true }), { tense: 'would', isUndo: true })
}

function Planned({
  plan,
  isNarrow,
  onAnswer,
  onClose,
  onUndo,
}: {
  plan: Validation
  isNarrow: boolean
  onAnswer: ReturnType<typeof useValidation>['answer']
  onClose: () => void
  onUndo: () => void
}) {
  const { report, decisions, obstacles } = plan
  const isPossible = obstacles.length === 0
  const hasWork = addUp(report).written > 0
  const panel = useRef<HTMLDivElement>(null)
  return (
    <>
      {!isPossible ? (
        <Obstacles title="This undo is not possible" obstacles={obstacles} />
      ) : !hasWork ? (
        <Alert color="green" icon={<Icon name="check" />} title="There is nothing to take back">
          With these answers every row stays as it is now.
        </Alert>
      ) : (
        <>
          <div>
            <Title order={3} size="h4" className={classes.headline}>
              {summarize(plan)}
            </Title>
            <Text size="sm" c="dimmed" mt={4}>
              Nothing has been written yet.
            </Text>
          </div>
          <PlanTable report={report} isUndo isPartial isNarrow={isNarrow} />
        </>
      )}
      {isPossible && decisions.length > 0 && (
        <div className={classes.choices} ref={panel}>
          <Title order={3} size="h4">
            Changed since
          </Title>
          {decisions.map((decision) => (
            <DecisionPanel
              key={decision.id}
              decision={decision}
              onAnswer={(answer) => onAnswer(plan, decision.id, answer)}
            />
          ))}
        </div>
      )}
      <div className={classes.actions}>
        <Button variant="default" size="md" onClick={onClose}>
          {isPossible && hasWork ? 'Cancel' : 'Back to backups'}
        </Button>
        {isPossible && hasWork && (
          <Button
            size="md"
            onClick={() => {
              if (isReady(plan)) onUndo()
              else panel.current?.querySelector<HTMLElement>('[role="radio"]')?.focus()
            }}
          >
            Undo…
          </Button>
        )}
      </div>
    </>
  )
}

/** The last question, with the focus on the answer that changes nothing. */
function UndoQuestion({
  isOpen,
  tenantName,
  restore,
  reach,
  plan,
  onCancel,
  onUndo,
}: {
  isOpen: boolean
  tenantName: string
  restore: Restore
  reach: Reach
  plan: Validation
  onCancel: () => void
  onUndo: () => void
}) {
  const [isBusy, setBusy] = useState(false)
  const name = useTypedWord(tenantName, 'name')
  const isEverything = reach === 'everything'
  const noun = nounOf(restore)
  return (
    <Modal
      opened={isOpen}
      onClose={onCancel}
      title={
        <>
          Undo the {noun} of <Time value={restore.completedAt ?? restore.createdAt} />?
        </>
      }
      classNames={{ title: classes.dialogTitle }}
      closeButtonProps={{ 'aria-label': 'Close' }}
      size="md"
    >
      <div className={classes.foot}>
        <Text size="sm">{summarize(plan)}</Text>
        <ul className={`${classes.facts} ${classes.small}`}>
          {isEverything && (
            <Fact icon="cross" tone="loss">
              <strong>What was written since the {noun} is dropped.</strong>
            </Fact>
          )}
          <Fact icon="check" tone="good">
            First a new safety backup is taken and verified, so this can be undone too.
          </Fact>
          <Fact icon="check" tone="good">
            Only {tenantName} is touched.
          </Fact>
        </ul>
        {isEverything && <TypedWord {...name.props} />}
        <div className={classes.actions}>
          <Button variant="default" size="md" onClick={onCancel} data-autofocus>
            Cancel
          </Button>
          <Button
            size="md"
            color="red"
            loading={isBusy}
            onClick={() => {
              if (isBusy || (isEverything && !name.check())) return
              setBusy(true)
              onUndo()
            }}
          >
            Undo the {noun}
          </Button>
        </div>
      </div>
    </Modal>
  )
}
