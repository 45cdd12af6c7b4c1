import { useQueryClient } from '@tanstack/react-query'
import { useEffect, useMemo, useState } from 'react'
import { useKept } from '../frame/kept-in-tab.ts'
import { setSearchParams, useSearchParam } from '../frame/use-search-param.ts'
import { StepBar, useHeading, ViewHeading } from '../restore/restore-parts.tsx'
import classes from './defaults.module.css'
import type { Question } from './describe-seeding.ts'
import type { PanelProps } from './panel-props.ts'
import type { Defaults } from './read-defaults.ts'
import { BackButton } from './row-form.tsx'
import { SeedChoose } from './seed-choose.tsx'
import { SeedConfirm } from './seed-confirm.tsx'
import { FIRST_SEED_DRAFT, findSeedFault, SeedDraft, toRequest } from './seed-draft.ts'
import { SeedRehearse } from './seed-rehearse.tsx'
import { SeedRunPanel } from './seed-run-panel.tsx'
import { useSeeding } from './use-seeding.ts'

export interface SeedViewProps extends PanelProps {
  defaults: Defaults
  viewer: string
  onClose: () => void
}

const STEPS = ['Choose', 'Rehearse', 'Confirm', 'Seed']
const STEP_NUMBERS: Record<string, number> = { rehearse: 1, confirm: 2 }

/**
 * The way to a seeding: choose, rehearse, confirm, seed. Every step has its address; what was chosen lies in
 * the tab. Nothing but the last button writes.
 */
export default function SeedView(props: SeedViewProps) {
  const { services, defaults, viewer, isNarrow, announce, onClose } = props
  const [runId] = useSearchParam('run')
  const [stepName] = useSearchParam('step')
  const queries = useQueryClient()
  const [draft, change] = useKept(`tenantkeep:seed:${viewer}`, SeedDraft, FIRST_SEED_DRAFT)
  const [isStale, setStale] = useState(false)
  const isRunning = runId !== null || draft.launch !== null
  const step = isRunning ? 3 : (STEP_NUMBERS[stepName ?? ''] ?? 0)
  const heading = useHeading('Seed tenants', isRunning ? 'seed' : (stepName ?? 'choose'))

  const body = JSON.stringify(toRequest(draft, null))
  const isAsked = draft.rehearsal?.body === body
  const isRehearsing = step === 1 || step === 2
  const rehearsal = useSeeding(
    services,
    isRehearsing && isAsked && draft.rehearsal !== null
      ? { key: draft.rehearsal.key, body, runId: null }
      : null,
  )
  const rehearse = () => change({ rehearsal: { body, key: crypto.randomUUID() } })
  const plan = isAsked && rehearsal.kind === 'ended' ? rehearsal.run : null
  const isOutdated =
    plan !== null && plan.expiresAt !== null && plan.expiresAt.getTime() < Date.now()
  const fault = findSeedFault(draft)
  // biome-ignore lint/correctness/useExhaustiveDependencies: a rehearsal is begun when what it asks is another.
  useEffect(() => {
    if (!isRehearsing) return
    // Another tab, or an old address: nothing was chosen here.
    if (fault !== null) setSearchParams({ step: null }, 'replace')
    else if (!isAsked || isOutdated) rehearse()
    else if (step === 2 && plan === null && rehearsal.kind !== 'working') {
      setSearchParams({ step: 'rehearse' }, 'replace')
    }
  }, [isRehearsing, isAsked, isOutdated, body, step, rehearsal.kind])

  // What was asked and has been answered since stays in sight, to be answered otherwise.
  const scope = JSON.stringify([draft.isAll, draft.tenants, draft.tables, draft.mode])
  const [known, setKnown] = useState<{ scope: string; questions: readonly Question[] }>({
    scope,
    questions: [],
  })
  const questions = useMemo(() => (known.scope === scope ? known.questions : []), [known, scope])

  return (
    <section className={classes.view} aria-labelledby="tenantkeep-seed">
      <BackButton onClick={onClose}>Back to the defaults</BackButton>
      <ViewHeading id="tenantkeep-seed" headingRef={heading}>
        Seed tenants with the defaults
      </ViewHeading>
      <StepBar current={step} isNarrow={isNarrow} steps={STEPS} />
      {isRunning ? (
        <SeedRunPanel
          {...props}
          launch={draft.launch}
          runId={runId}
          onRun={(run) => {
            change({ launch: null })
            setSearchParams({ run, step: null }, 'replace')
          }}
          onEnd={() => {
            change({ rehearsal: null, start: null, launch: null })
            for (const key of ['tenants', 'state', 'backups', 'timeline', 'history', 'defaults']) {
              void queries.invalidateQueries({ queryKey: [key] })
            }
          }}
          onBack={(stale) => {
            setStale(stale)
            if (stale) announce('Something changed since the rehearsal. Rehearsing again.')
            change({ rehearsal: null, start: null, launch: null })
            setSearchParams({ run: null, step: fault === null ? 'rehearse' : null }, 'replace')
          }}
          onOnly={(tenants) => {
            change({ isAll: false, tenants, rehearsal: null, start: null, launch: null })
            setSearchParams({ run: null, step: 'rehearse' })
          }}
          onFinish={() => {
            change(null)
            onClose()
          }}
        />
      ) : step === 0 ? (
        <SeedChoose
          {...props}
          draft={draft}
          onChange={change}
          onNext={() => {
            setStale(false)
            change({ asked: draft.picks })
            setSearchParams({ step: 'rehearse' })
          }}
        />
      ) : step === 1 || plan === null ? (
        <SeedRehearse
          {...props}
          draft={draft}
          state={rehearsal}
          questions={questions}
          isStale={isStale}
          onQuestions={(found) => setKnown({ scope, questions: found })}
          onPick={(picks) => change({ picks })}
          onAgain={() => {
            setStale(false)
            // Other answers are another request, and are rehearsed by themselves.
            if (JSON.stringify(draft.picks) === JSON.stringify(draft.asked)) rehearse()
            else change({ asked: draft.picks })
          }}
          onOnly={(tenants) => change({ isAll: false, tenants })}
          onBack={() => setSearchParams({ step: null })}
          onNext={(planHash) => {
            const key = draft.start?.planHash === planHash ? draft.start.key : crypto.randomUUID()
            change({ start: { planHash, key } })
            setSearchParams({ step: 'confirm' })
          }}
        />
      ) : (
        <SeedConfirm
          plan={plan}
          draft={draft}
          tables={defaults.tables}
          template={defaults.template}
          onNote={(note) => change({ note })}
          onBack={() => setSearchParams({ step: 'rehearse' })}
          onConfirm={() => {
            const { planHash } = plan
            if (planHash === null) return
            const key = draft.start?.planHash === planHash ? draft.start.key : crypto.randomUUID()
            change({
              start: { planHash, key },
              launch: { body: JSON.stringify(toRequest(draft, planHash)), key },
            })
          }}
        />
      )}
    </section>
  )
}
