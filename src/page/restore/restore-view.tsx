import { Button, Skeleton } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useCallback, useEffect, useRef, useState } from 'react'
import { type Backup, readBackup } from '../backups/read-backups.ts'
import { RequestFailed } from '../calls/call-function.ts'
import { keepTickedRows, readTickedRows } from '../compare/ticked-rows.ts'
import { setSearchParams, useSearchParam } from '../frame/use-search-param.ts'
import { useViewerId } from '../frame/use-viewer-id.ts'
import type { ViewProps } from '../frame/view-props.ts'
import { readState } from '../state/read-state.ts'
import { describeChanges } from './describe-restore.ts'
import classes from './restore.module.css'
import {
  FIRST_CHOICES,
  FIRST_DRAFT,
  keepDraft,
  keepStarted,
  keepStartedRun,
  keyOf,
  placeOfWay,
  readDraft,
  readStarted,
  reopenDraft,
  toOptions,
} from './restore-choices.ts'
import { ChooseStep } from './restore-choose.tsx'
import { ConfirmStep } from './restore-confirm.tsx'
import { applyAnswers, type Decision } from './restore-decisions.ts'
import {
  BackupTime,
  NotThere,
  Problem,
  StepBar,
  Subject,
  useHeading,
  ViewHeading,
} from './restore-parts.tsx'
import { RestoreRunPanel } from './restore-run-panel.tsx'
import { ValidateStep } from './restore-validate.tsx'
import type { Errand } from './run-restore.ts'
import { useDraft } from './use-draft.ts'
import type { Launch } from './use-restore-run.ts'
import { PLAN_MS, useValidation } from './use-validation.ts'
import { addUp, isReady, toReal, type Validation } from './validate-restore.ts'

/**
 * The way back to a backup: choose, validate, confirm, restore. Every step has its address; what was chosen
 * lies in the tab. Nothing but the last button writes.
 */
export default function RestoreView(props: ViewProps) {
  const { services } = props
  const [backupId] = useSearchParam('backup')
  const viewer = useViewerId(services)
  if (viewer === null) return <Waiting />
  return (
    <Way {...props} key={backupId} backupId={backupId} place={placeOfWay(viewer, backupId ?? '')} />
  )
}

interface WayProps extends ViewProps {
  backupId: string | null
  /** Where the way lies in the tab. */
  place: string
}

function Way(props: WayProps) {
  const { services, backupId, place, onClose } = props
  const [runId] = useSearchParam('run')
  const [stepName] = useSearchParam('step')
  const [launch, setLaunch] = useState<Launch | null>(null)
  const backup = useQuery({
    queryKey: ['backup', backupId],
    queryFn: ({ signal }) => readBackup(services, backupId ?? '', signal),
    enabled: backupId !== null,
  })
  const started = readStarted(place)
  const lostKey = started !== null && started.runId === null ? started.key : null

  // The back button leads from a restore to the list, never to the button that starts one.
  const isBehind = runId === null && started !== null && started.runId !== null && stepName !== null
  useEffect(() => {
    if (isBehind) setSearchParams(TO_LIST, 'replace')
  }, [isBehind])
  if (isBehind) return null

  if (runId !== null || lostKey !== null || (launch !== null && started?.runId === null)) {
    return (
      <RestoreRunPanel
        {...props}
        key={launch?.key ?? lostKey ?? runId}
        backup={backup.data ?? null}
        launch={launch}
        lostKey={lostKey}
        runId={runId}
        onRun={(run) => {
          keepStartedRun(place, run)
          setSearchParams({ run, step: null }, 'replace')
        }}
        onComplete={() => {
          keepDraft(place, null)
          if (backupId !== null) keepTickedRows(backupId, null)
        }}
        onBack={(isStale) => {
          const wasChosen = reopenDraft(place, { isStale })
          setLaunch(null)
          setSearchParams({ run: null, step: wasChosen ? 'validate' : null }, 'replace')
        }}
      />
    )
  }
  if (backup.data != null) {
    return <Wizard {...props} backup={backup.data} onLaunch={setLaunch} />
  }
  if (backup.isPending && backupId !== null) return <Waiting />
  return (
    <NotThere
      title="Restore"
      failure="The backup could not be read"
      error={backup.error ?? new RequestFailed('backup_not_found', 'There is no such backup.')}
      onRetry={backup.isError ? () => void backup.refetch() : null}
      onClose={onClose}
    />
  )
}

function Waiting() {
  return (
    <div className={classes.view} role="status" aria-label="Loading">
      <Skeleton height={28} width={300} maw="100%" />
      <Skeleton height={24} width={420} maw="100%" />
      <Skeleton height={420} radius="md" />
    </div>
  )
}

const STEP_NUMBERS: Record<string, number> = { validate: 1, confirm: 2 }

interface WizardProps extends WayProps {
  backup: Backup
  onLaunch: (launch: Launch) => void
}

function Wizard(props: WizardProps) {
  const { services, tenant, backup, place, isNarrow, onClose, onLaunch } = props
  const [stepName] = useSearchParam('step')
  const step = STEP_NUMBERS[stepName ?? ''] ?? 0
  const [ticked] = useState(() => readTickedRows(backup.id))
  const [draft, changeDraft] = useDraft(place, {
    ...FIRST_DRAFT,
    choices: { ...FIRST_CHOICES, scope: ticked === null ? 'everything' : 'rows' },
  })
  const state = useQuery({
    queryKey: ['state', tenant.id],
    queryFn: ({ signal }) => readState(services, tenant.id, signal),
  })
  const heading = useHeading(`Restore – ${tenant.name}`, stepName ?? 'choose')
  const validation = useValidation({
    services,
    isUndo: false,
    isPartial: draft.choices.scope === 'rows',
    draft,
    changeDraft,
  })
  const options = toOptions(draft.choices, ticked)
  const asked = JSON.stringify(options)
  const validated = useRef<string | null>(null)

  const toErrand = useCallback(
    (decisions: readonly Decision[], tables: readonly string[]): Errand | null => {
      const given = applyAnswers(toOptions(draft.choices, ticked), decisions, tables)
      if (given === null) return null
      const body = { organization_id: tenant.id, backup_id: backup.id, dry_run: true, ...given }
      return { name: 'restore-tenant-data', body }
    },
    [draft.choices, ticked, tenant.id, backup.id],
  )
  const validate = useCallback(
    (isAnew: boolean) => {
      validated.current = asked
      validation.start(toErrand, { isAnew })
    },
    [asked, toErrand, validation.start],
  )

  const keepKey = ({ report: { planHash } }: Validation) => {
    const key = keyOf(draft, planHash)
    changeDraft({ key: { planHash, key } })
    return key
  }
  const plan = validation.state.status === 'done' ? validation.state.validation : null
  const isConfirmable = plan !== null && validated.current === asked && mayConfirm(plan)
  useEffect(() => {
    if (step === 0) return
    // Another tab, or an old address: nothing was chosen here.
    if (readDraft(place) === null) {
      setSearchParams({ step: null }, 'replace')
      return
    }
    if (step === 2 && !isConfirmable) setSearchParams({ step: 'validate' }, 'replace')
    const isOther = validated.current !== asked
    if (isOther || isOutdated(plan)) validate(!isOther)
  }, [step, asked, place, isConfirmable, plan, validate])

  return (
    <section className={classes.view} aria-labelledby="tenantkeep-restore">
      <div>
        <ViewHeading id="tenantkeep-restore" headingRef={heading}>
          Restore to <BackupTime backup={backup} />
        </ViewHeading>
        <Subject tenantName={tenant.name} backup={backup} />
      </div>
      <StepBar current={step} isNarrow={isNarrow} />
      {backup.status !== 'complete' || backup.damagedAt !== null ? (
        <Problem words={describeUnusable(backup)}>
          <Button size="xs" variant="default" onClick={onClose}>
            Back to backups
          </Button>
        </Problem>
      ) : step === 0 ? (
        <ChooseStep
          choices={draft.choices}
          ticked={ticked}
          tables={state.data?.tables ?? null}
          tablesError={state.error}
          onRetryTables={() => void state.refetch()}
          backup={backup}
          onChange={(choices) => changeDraft({ choices })}
          onCancel={onClose}
          onNext={() => {
            keepStarted(place, null)
            changeDraft({ stale: null })
            setSearchParams({ step: 'validate' })
          }}
        />
      ) : step === 1 || plan === null ? (
        <ValidateStep
          state={validation.state}
          isNarrow={isNarrow}
          announce={props.announce}
          onAnswer={validation.answer}
          onAgain={() => validate(true)}
          stale={draft.stale}
          onBack={() => setSearchParams({ step: null })}
          onClose={onClose}
          onNext={(ready) => {
            if (isOutdated(ready)) {
              validate(true)
              return
            }
            keepKey(ready)
            setSearchParams({ step: 'confirm' })
          }}
        />
      ) : (
        <ConfirmStep
          tenant={tenant}
          backup={backup}
          validation={plan}
          undoDays={state.data?.safetyBackupDays ?? null}
          note={draft.note}
          onNote={(note) => changeDraft({ note })}
          onBack={() => setSearchParams({ step: 'validate' })}
          onConfirm={() => {
            const key = keepKey(plan)
            changeDraft({ stale: summaryOf(plan) })
            keepStarted(place, { key, runId: null })
            onLaunch({ key, errand: toReal(plan, key, draft.note) })
          }}
        />
      )}
    </section>
  )
}

const TO_LIST = { view: null, backup: null, run: null, step: null }

function mayConfirm(plan: Validation): boolean {
  return isReady(plan) && addUp(plan.report).written > 0 && !isOutdated(plan)
}

function isOutdated(plan: Validation | null): boolean {
  return plan !== null && Date.now() - plan.validatedAt.getTime() > PLAN_MS
}

function summaryOf({ report, isPartial }: Validation): string {
  return describeChanges(addUp(report, { isPartial }), { tense: 'would', isUndo: false })
}

function describeUnusable({ status, pruneReason }: Backup) {
  const text = {
    pruned: `It was pruned. ${pruneReason ?? 'Its time was over.'} Choose another one.`,
    running: 'It is still being taken. Wait until it is complete.',
    failed: 'It failed and holds nothing that could be restored. Choose another one.',
    cancelled: 'It was stopped and holds nothing that could be restored. Choose another one.',
    complete: 'Its files are damaged: it did not pass verification. Choose another one.',
  }[status]
  return { title: 'This backup can not be restored', text, requestId: undefined }
}
