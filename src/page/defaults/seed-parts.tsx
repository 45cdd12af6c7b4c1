import { Anchor, Paper, Text } from '@mantine/core'
import { useEffect } from 'react'
import type { StatusWords } from '../backups/backup-words.ts'
import { formatCount, formatDuration, formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import { ListTable, StatusBadge } from '../frame/list-parts.tsx'
import { nameTable } from '../frame/name-table.ts'
import shared from '../frame/page.module.css'
import { useNow } from '../frame/times.tsx'
import restore from '../restore/restore.module.css'
import classes from './defaults.module.css'
import {
  describeCases,
  describeObstacle,
  describeOutcome,
  describeSeedStep,
} from './describe-seeding.ts'
import type { SeedOutcome } from './read-seeding.ts'
import type { SeedState } from './use-seeding.ts'

/** Parts that the rehearsal and the seeding share. */

/** How far a rehearsal or a seeding is: tenants of many, or the step of a single one. */
export function SeedProgress({
  title,
  state,
  announce,
}: {
  title: string
  state: Extract<SeedState, { kind: 'working' }>
  announce: (text: string) => void
}) {
  const { run, isLineThere, since } = state
  const now = useNow(1_000)
  const tenants = run?.tenants ?? []
  const done = tenants.filter(({ status }) => status !== 'pending' && status !== 'running').length
  const failed = tenants.filter(({ status }) => status === 'failed')
  const isMany = tenants.length > 1
  // A quarter of them is worth a word; each of many would be chatter.
  const quarter = isMany ? Math.floor((done / tenants.length) * 4) : 0
  useEffect(() => {
    announce(quarter === 0 ? title : `${title}: ${quarter * 25} %`)
  }, [announce, title, quarter])
  return (
    <Paper withBorder className={restore.panel}>
      <div className={classes.progressHead}>
        <span className={shared.spin}>
          <Icon name="running" size={20} />
        </span>
        <Text fw={600}>{title}</Text>
        <Text size="sm" c="dimmed" className={classes.elapsed}>
          {formatDuration(Math.max(0, now.getTime() - since.getTime()))}
        </Text>
      </div>
      {isMany && (
        <div>
          <progress
            className={classes.progress}
            aria-label={title}
            value={done}
            max={tenants.length}
          />
          <Text size="sm">
            {formatCount(done)} of {formatPlural(tenants.length, 'tenant')}
            {failed.length > 0 && `, ${formatCount(failed.length)} failed`}
          </Text>
        </div>
      )}
      {!isMany && run?.step != null && <Text size="sm">{describeSeedStep(run.step)}</Text>}
      {failed.length > 0 && (
        <ul className={restore.notes}>
          {failed.slice(0, 10).map(({ id, name, error }) => (
            <li key={id}>
              {name}: {describeObstacle(error?.code ?? '', error?.message ?? 'It failed.')}
            </li>
          ))}
        </ul>
      )}
      <Text size="sm" c="dimmed">
        {isLineThere
          ? 'You can close this page; it goes on, and this address finds it again.'
          : 'No connection. What is running goes on; this page catches up by itself.'}
      </Text>
    </Paper>
  )
}

/** A few of many fit the page; the rest is counted. */
const MOST_SHOWN = 50

/** What would happen to each tenant, or happened; those that failed first. */
export function OutcomeTable({
  tenants,
  caption,
  isDone,
  isNarrow,
}: {
  tenants: readonly SeedOutcome[]
  caption: string
  isDone: boolean
  isNarrow: boolean
}) {
  const sorted = tenants.toSorted((a, b) => rank(a) - rank(b))
  const shown = sorted.slice(0, MOST_SHOWN)
  const rest = sorted.length - shown.length
  return (
    <div className={restore.choices}>
      {isNarrow ? (
        <ul className={restore.planList}>
          {shown.map((tenant) => (
            <li key={tenant.id} className={restore.planItem}>
              <Text size="sm" fw={600}>
                {tenant.name}
              </Text>
              <div className={classes.outcome}>
                <StatusBadge words={nameOutcome(tenant, isDone)} />
              </div>
              <Outcome tenant={tenant} isDone={isDone} />
            </li>
          ))}
        </ul>
      ) : (
        <div className={classes.framed}>
          <ListTable
            caption={caption}
            head={
              <>
                <th scope="col">Tenant</th>
                <th scope="col">{isDone ? 'Result' : 'Plan'}</th>
                <th scope="col">{isDone ? 'What was written' : 'What would be written'}</th>
              </>
            }
          >
            {shown.map((tenant) => (
              <tr key={tenant.id}>
                <td className={classes.nameCell}>
                  <Text size="sm" fw={600}>
                    {tenant.name}
                  </Text>
                </td>
                <td>
                  <StatusBadge words={nameOutcome(tenant, isDone)} />
                </td>
                <td>
                  <Outcome tenant={tenant} isDone={isDone} />
                </td>
              </tr>
            ))}
          </ListTable>
        </div>
      )}
      {rest > 0 && (
        <Text size="sm" c="dimmed">
          and {formatPlural(rest, 'other tenant')}
        </Text>
      )}
    </div>
  )
}

function rank({ status, result }: SeedOutcome): number {
  if (status === 'failed') return 0
  if ((result?.conflictCount ?? 0) > 0 || (result?.blockers.length ?? 0) > 0) return 1
  return status === 'skipped' ? 3 : 2
}

function nameOutcome({ status, result }: SeedOutcome, isDone: boolean): StatusWords {
  if (status === 'failed') return { word: 'Failed', colour: 'red', icon: 'cross' }
  if (status === 'skipped') return { word: 'Left out', colour: 'gray', icon: 'nothing' }
  if (status !== 'complete') return { word: 'Waiting', colour: 'blue', icon: 'running' }
  if ((result?.blockers.length ?? 0) > 0) {
    return { word: 'Not possible', colour: 'red', icon: 'cross' }
  }
  if ((result?.conflictCount ?? 0) > 0) {
    return { word: 'To be decided', colour: 'yellow', icon: 'attention' }
  }
  return isDone
    ? { word: 'Seeded', colour: 'green', icon: 'check' }
    : { word: 'Ready', colour: 'green', icon: 'check' }
}

function Outcome({ tenant, isDone }: { tenant: SeedOutcome; isDone: boolean }) {
  const { error, result, status, id } = tenant
  if (status === 'failed' || status === 'skipped') {
    return (
      <Text size="sm" className={shared.reason}>
        {describeObstacle(error?.code ?? '', error?.message ?? 'It failed. Nothing was written.')}
      </Text>
    )
  }
  if (result === null) return null
  const told = result.tables.filter(({ cases }) =>
    Object.entries(cases).some(([name, rows]) => name !== 'unchanged' && rows > 0),
  )
  const notes = [
    ...new Set([...result.warnings, ...result.tables.flatMap(({ warnings }) => warnings)]),
  ]
  return (
    <>
      <Text size="sm">{describeOutcome(tenant, { isDone })}</Text>
      {result.undoId !== null && (
        <Anchor
          size="sm"
          href={`?tenant=${encodeURIComponent(id)}&view=undo&restore=${encodeURIComponent(result.undoId)}`}
        >
          Undo this seeding
          <span className={shared.hidden}> of {tenant.name}</span>
        </Anchor>
      )}
      {!isDone && told.length > 0 && (
        <details className={classes.details}>
          <summary>
            Table by table<span className={shared.hidden}> for {tenant.name}</span>
          </summary>
          <ul>
            {told.map(({ name, cases }) => (
              <li key={name}>
                {nameTable(name)}: {describeCases(cases)}
              </li>
            ))}
          </ul>
        </details>
      )}
      {notes.length > 0 && (
        <details className={classes.details}>
          <summary>
            {formatPlural(notes.length, 'note')}
            <span className={shared.hidden}> about {tenant.name}</span>
          </summary>
          <ul>
            {notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </details>
      )}
    </>
  )
}
