import { Alert, Button, Text } from '@mantine/core'
import { useEffect, useRef, useState } from 'react'
import { RequestFailed } from '../calls/call-function.ts'
import { formatCount, formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import restore from '../restore/restore.module.css'
import { DefaultsFailure } from './defaults-failure.tsx'
import { describeTotals, sumUp } from './describe-seeding.ts'
import type { SeedRun } from './read-seeding.ts'
import { OutcomeTable, SeedProgress } from './seed-parts.tsx'
import type { SeedViewProps } from './seed-view.tsx'
import { useSeeding } from './use-seeding.ts'

interface SeedRunPanelProps extends SeedViewProps {
  /** What was just asked for; null where it was asked before, and the run is known. */
  launch: { body: string; key: string } | null
  runId: string | null
  onRun: (runId: string) => void
  onEnd: () => void
  /** To the plan, where nothing was seeded; at once where it went stale. */
  onBack: (isStale: boolean) => void
  /** Only these once more. */
  onOnly: (tenants: { id: string; name: string }[]) => void
  onFinish: () => void
}

/** A seeding that was asked for: how far it is, and how it ended for each tenant. */
export function SeedRunPanel(props: SeedRunPanelProps) {
  const { services, launch, runId, announce, onRun, onEnd, onBack, onFinish } = props
  // Begun once: that its run gets into the address must not begin to follow it anew.
  const job = useRef(
    launch !== null ? { ...launch, runId: null } : { key: runId ?? '', body: null, runId },
  )
  const [looks, setLooks] = useState(0)
  const state = useSeeding(services, job.current, looks)
  const known =
    state.kind === 'working'
      ? state.run?.runId
      : state.kind === 'ended'
        ? state.run.runId
        : undefined
  const calls = useRef({ onRun, onEnd, onBack })
  calls.current = { onRun, onEnd, onBack }
  useEffect(() => {
    if (known !== undefined && known !== runId) calls.current.onRun(known)
  }, [known, runId])
  const { kind } = state
  const error = state.kind === 'refused' || state.kind === 'unreadable' ? state.error : null
  const isStale =
    error instanceof RequestFailed &&
    (error.code === 'plan_stale' || error.code === 'plan_required')
  useEffect(() => {
    if (kind === 'working') return
    if (isStale) calls.current.onBack(true)
    else if (kind === 'ended') {
      calls.current.onEnd()
      announce('The seeding has ended.')
    }
  }, [kind, isStale, announce])

  if (state.kind === 'working') return <SeedProgress {...props} title="Seeding" state={state} />
  if (state.kind === 'ended') return <Ended {...props} run={state.run} />
  if (isStale) return null
  return (
    <>
      <DefaultsFailure
        error={state.error}
        what={state.kind === 'refused' ? 'Nothing was seeded' : 'How it stands could not be read'}
      />
      <div className={restore.actions}>
        <Button variant="default" size="md" onClick={onFinish}>
          Back to the defaults
        </Button>
        {state.kind === 'refused' ? (
          <Button size="md" onClick={() => onBack(false)}>
            Back to the plan
          </Button>
        ) : (
          // The same key never seeds twice, so whatever became of it is found.
          <Button size="md" onClick={() => setLooks(looks + 1)}>
            Look again
          </Button>
        )}
      </div>
    </>
  )
}

function Ended({ run, isNarrow, onOnly, onFinish }: SeedRunPanelProps & { run: SeedRun }) {
  const { tenants } = run
  const failed = tenants.filter(({ status }) => status === 'failed')
  const done = tenants.filter(({ status }) => status === 'complete')
  return (
    <>
      <Alert
        color={failed.length === 0 ? 'green' : done.length === 0 ? 'red' : 'yellow'}
        icon={<Icon name={failed.length === 0 ? 'check' : 'attention'} />}
        title={
          failed.length === 0
            ? `${formatPlural(done.length, 'tenant')} seeded`
            : `${formatCount(done.length)} of ${formatPlural(tenants.length, 'tenant')} seeded, ${formatCount(failed.length)} failed`
        }
        role="status"
      >
        <Text size="sm">
          {describeTotals(sumUp(done), { isDone: true })}
          {failed.length > 0 && ' To those that failed nothing was written.'}
        </Text>
      </Alert>
      <OutcomeTable
        tenants={tenants}
        caption="What was done, by tenant"
        isDone
        isNarrow={isNarrow}
      />
      <div className={restore.actions}>
        <Button variant={failed.length > 0 ? 'default' : 'filled'} size="md" onClick={onFinish}>
          Back to the defaults
        </Button>
        {failed.length > 0 && (
          <Button size="md" onClick={() => onOnly(failed.map(({ id, name }) => ({ id, name })))}>
            Rehearse the failed ones again
          </Button>
        )}
      </div>
    </>
  )
}
