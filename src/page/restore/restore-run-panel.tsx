import { Alert, Button, Text } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useCallback } from 'react'
import type { Backup } from '../backups/read-backups.ts'
import { RequestFailed } from '../calls/call-function.ts'
import { formatDuration } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import { Day, Time } from '../frame/times.tsx'
import { setSearchParams } from '../frame/use-search-param.ts'
import type { ViewProps } from '../frame/view-props.ts'
import { readState } from '../state/read-state.ts'
import { describeRestoreFailure, listChanges, RESTORE_PHASES } from './describe-restore.ts'
import { nounOf, type Restore } from './read-restore.ts'
import classes from './restore.module.css'
import {
  BackupTime,
  PlanTable,
  Problem,
  ProgressPanel,
  STEPS,
  StepBar,
  Subject,
  useHeading,
  ViewHeading,
} from './restore-parts.tsx'
import type { Report, RestoreRun } from './run-restore.ts'
import { type Launch, type RunState, useRestoreRun } from './use-restore-run.ts'
import { addUp } from './validate-restore.ts'

interface RestoreRunPanelProps extends ViewProps {
  /** What is restored from; null where it is not known. */
  backup: Backup | null
  isUndo?: boolean
  /** What is undone; null where it is not known. */
  undone?: Restore | null
  launch: Launch | null
  /** Of a press whose page is gone before it knew the run. */
  lostKey: string | null
  runId: string | null
  onRun: (runId: string) => void
  /** Done, so nothing that was chosen is needed any more. */
  onComplete: () => void
  /** To the plan, where nothing was restored; at once where it went stale. */
  onBack: (isStale: boolean) => void
}

/** A restore or an undo that was asked for: what it does, and how it ended. */
export function RestoreRunPanel(props: RestoreRunPanelProps) {
  const { services, tenant, isNarrow, announce, onClose, backup, launch, lostKey, runId } = props
  const queries = useQueryClient()
  const { isUndo: isAskedUndo = false } = props
  const refresh = useCallback(() => {
    for (const key of ['state', 'backups', 'timeline', 'history']) {
      void queries.invalidateQueries({ queryKey: [key, tenant.id] })
    }
  }, [queries, tenant.id])

  const followed = useRestoreRun(
    services,
    { launch, key: lostKey, runId },
    {
      run: props.onRun,
      end: (state) => {
        refresh()
        // The frame watches queries: the next that is refused asks the person to sign in.
        if (isSignedOut(state)) void queries.refetchQueries({ type: 'active' })
        if (state.kind === 'complete') {
          props.onComplete()
          announce(isAskedUndo ? 'The undo is done.' : 'The restore is done.')
        } else if (hasGoneStale(state)) {
          announce('Your data changed since validation. Nothing was written. Validating again.')
          props.onBack(true)
        }
      },
    },
  )
  const { state } = followed
  const isUndo =
    isAskedUndo ||
    ((state.kind === 'complete' || state.kind === 'running') && state.run?.kind === 'undo')
  const noun = isUndo ? 'undo' : 'restore'
  const title = isUndo ? 'Undo of a restore' : 'Restore'
  const heading = useHeading(`${title} – ${tenant.name}`, state.kind)

  return (
    <section className={classes.view} aria-labelledby="tenantkeep-restore">
      <div>
        <ViewHeading id="tenantkeep-restore" headingRef={heading}>
          {isUndo && props.undone != null ? (
            <>
              Undo of the {nounOf(props.undone)} of{' '}
              <Time value={props.undone.completedAt ?? props.undone.createdAt} />
            </>
          ) : isUndo || backup === null ? (
            title
          ) : (
            <>
              Restore to <BackupTime backup={backup} />
            </>
          )}
        </ViewHeading>
        {isUndo && (
          <Text c="dimmed" className={classes.subject}>
            {tenant.name}
          </Text>
        )}
        {backup !== null && !isUndo && <Subject tenantName={tenant.name} backup={backup} />}
      </div>
      {!isUndo && (
        <StepBar current={state.kind === 'complete' ? STEPS.length : 3} isNarrow={isNarrow} />
      )}
      {state.kind === 'complete' ? (
        <Done {...props} run={state.run} isUndo={isUndo} />
      ) : state.kind === 'failed' || state.kind === 'not_started' ? (
        <NotDone state={state} noun={noun} onBack={props.onBack} onClose={onClose} />
      ) : state.kind === 'unreadable' ? (
        <Problem words={describeRestoreFailure(state.error, 'Its progress could not be read')}>
          <Button size="xs" variant="default" onClick={followed.again}>
            Try again
          </Button>
          <Button size="xs" variant="default" onClick={onClose}>
            Back to backups
          </Button>
        </Problem>
      ) : (
        <>
          {state.kind === 'checking' && (
            <Alert
              color="yellow"
              icon={<Icon name="attention" />}
              title="The connection broke"
              role="alert"
            >
              The connection broke after you pressed {isUndo ? 'Undo' : 'Restore'}. Checking whether
              it started…
            </Alert>
          )}
          <ProgressPanel
            title={
              state.kind === 'running'
                ? isUndo
                  ? 'Undo in progress'
                  : 'Restore in progress'
                : state.kind === 'starting'
                  ? 'Starting'
                  : 'Checking whether it started'
            }
            phases={state.kind === 'checking' ? [] : RESTORE_PHASES}
            step={followed.step}
            tables={followed.tables}
            startedAt={followed.startedAt}
            heardAt={followed.heardAt}
            text={
              !followed.isLineThere
                ? 'No connection. What is running goes on; this page catches up by itself.'
                : state.kind === 'checking'
                  ? `If it did start, the ${noun} goes on. It is not started twice.`
                  : `You can close this page; the ${noun} goes on. Everything is written at once at the end, or not at all.`
            }
            announce={announce}
          />
          <div className={classes.actions}>
            <Button variant="default" size="md" onClick={onClose}>
              Back to backups
            </Button>
          </div>
        </>
      )}
    </section>
  )
}

function Done({
  services,
  tenant,
  run,
  isUndo,
  backup,
  isNarrow,
  onClose,
}: RestoreRunPanelProps & { run: RestoreRun; isUndo: boolean }) {
  const { result, createdAt, finishedAt } = run
  const state = useQuery({
    queryKey: ['state', tenant.id],
    queryFn: ({ signal }) => readState(services, tenant.id, signal),
  })
  if (result === null) return null
  const { lastRestore = null } = state.data ?? {}
  const undoUntil = lastRestore?.restoreId === result.restoreId ? lastRestore.undoUntil : null
  const changes = listChanges(addUp(result), { tense: 'did', isUndo })
  const took =
    finishedAt === null ? '' : `, in ${formatDuration(finishedAt.getTime() - createdAt.getTime())}`
  return (
    <>
      <Alert
        color="green"
        icon={<Icon name="check" />}
        title={isUndo ? 'The restore was undone' : 'Restored'}
      >
        <Text size="sm">
          {!isUndo && backup !== null && (
            <>
              Back to <BackupTime backup={backup} />.{' '}
            </>
          )}
          {changes.length === 0 ? 'No row had to be changed' : changes.join(', ')}
          {took}; checked row by row.
        </Text>
        {result.warnings.some(({ code }) => code === 'answer_lost') && (
          <Text size="sm" mt={4}>
            The connection to its process was lost on the way; the counts are those of the history.
          </Text>
        )}
      </Alert>
      <ResultActions result={result} isUndo={isUndo} onClose={onClose} />
      <PlanTable report={result} isUndo={isUndo} isDone isPartial isNarrow={isNarrow} />
      <Text size="sm" c="dimmed">
        How it was just before is kept in a safety backup
        {undoUntil === null ? (
          '.'
        ) : (
          <>
            ; you can undo this until <Day value={undoUntil} />.
          </>
        )}
      </Text>
    </>
  )
}

function ResultActions({
  result,
  isUndo,
  onClose,
}: {
  result: Report
  isUndo: boolean
  onClose: () => void
}) {
  const { restoreId, safetyBackupId } = result
  const hasWritten = addUp(result).written > 0
  return (
    <div className={classes.actions}>
      {safetyBackupId !== null && hasWritten && (
        <Button
          variant="default"
          size="md"
          onClick={() => setSearchParams({ ...ELSEWHERE, view: 'compare', backup: safetyBackupId })}
        >
          See changes
        </Button>
      )}
      {restoreId !== null && hasWritten && (
        <Button
          variant="default"
          size="md"
          onClick={() => setSearchParams({ ...ELSEWHERE, view: 'undo', restore: restoreId })}
        >
          {isUndo ? 'Undo this undo' : 'Undo this restore'}
        </Button>
      )}
      <Button size="md" onClick={onClose}>
        Back to backups
      </Button>
    </div>
  )
}

const ELSEWHERE = { view: null, backup: null, with: null, run: null, restore: null, step: null }

/** Codes after which the plan is to be looked at again. */
const STALE = ['plan_stale', 'plan_required', 'restore_blocked', 'schema_changed']

function isSignedOut(state: RunState): boolean {
  const error = 'error' in state ? state.error : null
  return error instanceof RequestFailed && error.code === 'not_signed_in'
}

function hasGoneStale(state: RunState): boolean {
  if (state.kind !== 'failed' && state.kind !== 'not_started') return false
  return state.error !== null && STALE.includes(state.error.code)
}

function NotDone({
  state,
  noun,
  onBack,
  onClose,
}: {
  state: Extract<RunState, { kind: 'failed' | 'not_started' }>
  noun: string
  onBack: (isStale: boolean) => void
  onClose: () => void
}) {
  const { error } = state
  const words =
    error === null
      ? {
          title: `The ${noun} did not start`,
          text: 'The connection broke before it arrived. Nothing was changed.',
          requestId: undefined,
        }
      : describeRestoreFailure(error, `The ${noun} stopped. Nothing was changed`)
  return (
    <>
      <Problem words={words} />
      <div className={classes.actions}>
        <Button variant="default" size="md" onClick={onClose}>
          Back to backups
        </Button>
        <Button size="md" onClick={() => onBack(false)}>
          Back to the plan
        </Button>
      </div>
    </>
  )
}
