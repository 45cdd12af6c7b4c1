import { Alert, Button, Radio, Text } from '@mantine/core'
import { type RefObject, useRef, useState } from 'react'
import { Icon } from '../frame/icons.tsx'
import { Nothing } from '../frame/list-parts.tsx'
import { nameTable } from '../frame/name-table.ts'
import shared from '../frame/page.module.css'
import restore from '../restore/restore.module.css'
import { ViewHeading } from '../restore/restore-parts.tsx'
import classes from './defaults.module.css'
import { DefaultsFailure } from './defaults-failure.tsx'
import { type Difference, describeReadOnly, firstSide, type Side } from './describe-column.ts'
import type { DefaultTable } from './read-defaults.ts'

interface RowConflictProps {
  heading: RefObject<HTMLHeadingElement | null>
  name: string
  table: DefaultTable
  differences: readonly Difference[]
  isBusy: boolean
  failure: unknown
  onSave: (sides: Record<string, Side>) => void
  onEdit: (sides: Record<string, Side>) => void
}

/** Two people edited one row: both versions beside each other, and whose counts, column by column. */
export function RowConflict(props: RowConflictProps) {
  const { heading, name, table, differences, isBusy, failure, onSave, onEdit } = props
  const [chosen, setChosen] = useState<Record<string, Side>>({})
  const [isChecked, setChecked] = useState(false)
  const list = useRef<HTMLDivElement>(null)
  const sideOf = (difference: Difference) => chosen[difference.column] ?? firstSide(difference)
  const decidable = differences.filter(({ column }) => canChoose(table, column))
  const open = decidable.filter((difference) => sideOf(difference) === null)
  const takeAll = (side: Side) =>
    setChosen(Object.fromEntries(decidable.map(({ column }) => [column, side])))
  const sides = () =>
    Object.fromEntries(
      differences.map((difference) => [difference.column, sideOf(difference) ?? 'theirs'] as const),
    )
  const act = (then: (sides: Record<string, Side>) => void) => {
    if (isBusy) return
    setChecked(true)
    const first = open[0]
    if (first === undefined) then(sides())
    else list.current?.querySelector<HTMLInputElement>('[data-open] input')?.focus()
  }
  return (
    <section className={classes.view} aria-labelledby="tenantkeep-row">
      <ViewHeading id="tenantkeep-row" headingRef={heading}>
        Somebody else changed {name}
      </ViewHeading>
      <Alert
        color="yellow"
        icon={<Icon name="attention" />}
        title="Two versions of one row"
        role="alert"
      >
        <Text size="sm">
          While you were editing this row of {nameTable(table.name)}, somebody else saved it.
          Nothing of yours was written, and nothing of it is lost: say column by column whose value
          counts.
        </Text>
      </Alert>
      {failure !== null && <DefaultsFailure error={failure} what="The row was not saved" />}
      <div className={classes.takeAll}>
        <Button variant="default" size="sm" onClick={() => takeAll('theirs')}>
          Take all of theirs
        </Button>
        <Button variant="default" size="sm" onClick={() => takeAll('mine')}>
          Keep all of mine
        </Button>
      </div>
      <div ref={list} className={classes.versions}>
        {differences.map((difference) => {
          const side = sideOf(difference)
          const isOpen = isChecked && side === null
          return (
            <Radio.Group
              key={difference.column}
              className={classes.version}
              data-open={isOpen || undefined}
              label={difference.column}
              description={
                difference.isContested ? (
                  <>
                    Both changed it. When you opened it: <Value value={difference.before} />
                  </>
                ) : difference.mine === difference.before ? (
                  'Only they changed it.'
                ) : (
                  'Only you changed it.'
                )
              }
              error={isOpen ? 'Choose one of the two' : undefined}
              value={side ?? ''}
              onChange={(value) =>
                setChosen({ ...chosen, [difference.column]: value === 'mine' ? 'mine' : 'theirs' })
              }
            >
              <div className={classes.sides}>
                <VersionCard side="theirs" label="Theirs" value={difference.theirs} />
                {canChoose(table, difference.column) && (
                  <VersionCard side="mine" label="Yours" value={difference.mine} />
                )}
              </div>
            </Radio.Group>
          )
        })}
      </div>
      <Text size="xs" c="dimmed">
        Columns that are not shown are the same in both.
      </Text>
      <div className={restore.actions}>
        <Button variant="default" size="md" onClick={() => act(onEdit)}>
          Edit further
        </Button>
        <Button size="md" loading={isBusy} onClick={() => act(onSave)}>
          Save these values
        </Button>
      </div>
    </section>
  )
}

/** What the database sets by itself is as it is now. */
function canChoose({ columns }: DefaultTable, name: string): boolean {
  const column = columns.find((known) => known.name === name)
  return column !== undefined && describeReadOnly(column, { isNew: false }) === null
}

function VersionCard({ side, label, value }: { side: Side; label: string; value: string | null }) {
  return (
    <Radio.Card
      value={side}
      className={restore.choice ?? ''}
      aria-label={`${label}: ${value ?? 'no value'}`}
    >
      <Radio.Indicator className={restore.choiceMark ?? ''} aria-hidden="true" />
      <span className={restore.choiceText}>
        <Text component="span" size="xs" c="dimmed" display="block">
          {label}
        </Text>
        <span className={classes.value}>
          <Value value={value} />
        </span>
      </span>
    </Radio.Card>
  )
}

function Value({ value }: { value: string | null }) {
  if (value === null) return <Nothing />
  if (value === '') return <span className={shared.hidden}>empty text</span>
  return <>{value}</>
}
