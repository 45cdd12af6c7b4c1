import {
  Button,
  Checkbox,
  Group,
  Paper,
  Radio,
  SegmentedControl,
  Skeleton,
  Text,
} from '@mantine/core'
import { useEffect, useRef, useState } from 'react'
import type { Backup } from '../backups/read-backups.ts'
import { formatPlural } from '../frame/format.ts'
import { nameTable, nameTables, technicalName } from '../frame/name-table.ts'
import type { State } from '../state/read-state.ts'
import { describeRestoreFailure } from './describe-restore.ts'
import classes from './restore.module.css'
import { type Choices, countRows, findFault, type Manner, type RowKeys } from './restore-choices.ts'
import { Choice, Problem } from './restore-parts.tsx'

const MANNERS: readonly { value: Manner; label: string; trap: string }[] = [
  {
    value: 'missing',
    label: 'Bring back what is missing',
    trap: 'Nothing that exists now is changed. Rows that were changed since stay as they are today.',
  },
  {
    value: 'changes',
    label: 'Also undo changes',
    trap: 'Rows that still exist get their earlier values; later edits to them are lost.',
  },
  {
    value: 'exact',
    label: 'Exactly as in the backup',
    trap: 'Also removes rows that were added since.',
  },
  {
    value: 'each',
    label: 'Choose for each',
    trap: 'Deleted, changed and added rows one by one.',
  },
]

interface ChooseStepProps {
  choices: Choices
  /** Rows that were ticked in a comparison with this backup. */
  ticked: RowKeys | null
  /** Null while they are read. */
  tables: State['tables'] | null
  tablesError: unknown
  onRetryTables: () => void
  backup: Backup
  onChange: (choices: Choices) => void
  onCancel: () => void
  onNext: () => void
}

/** What should come back, and what becomes of today's data. */
export function ChooseStep(props: ChooseStepProps) {
  const { choices, ticked, tables, backup, onChange, onCancel, onNext } = props
  const [isChecked, setChecked] = useState(false)
  const fault = isChecked ? findFault(choices, ticked) : null
  const field = useRef<HTMLDivElement>(null)
  const rows = countRows(ticked)
  const change = (changes: Partial<Choices>) => onChange({ ...choices, ...changes })
  const next = () => {
    setChecked(true)
    if (findFault(choices, ticked) === null) onNext()
    else field.current?.querySelector<HTMLElement>('input, button')?.focus()
  }

  return (
    <>
      <Paper withBorder className={classes.panel}>
        <Radio.Group
          label="What should come back?"
          classNames={{ label: classes.legend }}
          value={choices.scope}
          onChange={(scope) => {
            if (scope === 'everything' || scope === 'tables' || scope === 'rows') change({ scope })
          }}
        >
          <div className={classes.sideBySide}>
            <Choice
              value="everything"
              label="Everything"
              trap={`All ${formatPlural(backup.totalTables ?? 0, 'table')} of this backup.`}
            />
            <Choice value="tables" label="Some tables" trap="You tick which." />
            {rows > 0 && (
              <Choice
                value="rows"
                label={
                  rows === 1 ? 'The row you ticked' : `The ${formatPlural(rows, 'row')} you ticked`
                }
                trap={`In ${nameTables(Object.keys(ticked ?? {}))}. They become exactly as in the backup: missing ones come back, changed ones get their earlier values, newer ones are removed.`}
              />
            )}
          </div>
        </Radio.Group>
        {choices.scope === 'tables' && (
          <TableTicks
            fieldRef={field}
            tables={tables}
            error={props.tablesError}
            onRetry={props.onRetryTables}
            ticked={choices.tables}
            fault={fault?.field === 'tables' ? fault.text : null}
            onChange={(names) => change({ tables: names })}
          />
        )}
        {fault?.field === 'rows' && (
          <Text c="var(--mantine-color-error)" size="sm" role="alert">
            {fault.text}
          </Text>
        )}
        {choices.scope !== 'rows' && (
          <Radio.Group
            label="And what about today’s data?"
            classNames={{ label: classes.legend }}
            value={choices.manner}
            onChange={(value) => {
              const manner = MANNERS.find((known) => known.value === value)?.value
              if (manner !== undefined) change({ manner })
            }}
          >
            <div className={classes.choices}>
              {MANNERS.map((manner) => (
                <Choice key={manner.value} {...manner} />
              ))}
            </div>
          </Radio.Group>
        )}
        {choices.scope !== 'rows' && choices.manner === 'each' && (
          <Switches
            fieldRef={field}
            choices={choices}
            history={(tables ?? []).filter(({ isHistory }) => isHistory).map(({ name }) => name)}
            fault={fault?.field === 'each' ? fault.text : null}
            onChange={change}
          />
        )}
      </Paper>
      <div className={classes.foot}>
        <div className={classes.actions}>
          <Button variant="default" size="md" onClick={onCancel}>
            Cancel
          </Button>
          <Button size="md" onClick={next}>
            Validate
          </Button>
        </div>
        <Text size="sm" c="dimmed" className={classes.footNote}>
          Validating reads and compares. Nothing is written.
        </Text>
      </div>
    </>
  )
}

function TableTicks({
  fieldRef,
  tables,
  error,
  onRetry,
  ticked,
  fault,
  onChange,
}: {
  fieldRef: React.RefObject<HTMLDivElement | null>
  tables: State['tables'] | null
  error: unknown
  onRetry: () => void
  ticked: readonly string[]
  fault: string | null
  onChange: (names: string[]) => void
}) {
  const box = useRef<HTMLDivElement>(null)
  useEffect(() => {
    fieldRef.current = box.current
  })
  if (tables === null && error !== null && error !== undefined) {
    return (
      <Problem words={describeRestoreFailure(error, 'The tables could not be listed')}>
        <Button size="xs" variant="default" onClick={onRetry}>
          Try again
        </Button>
      </Problem>
    )
  }
  if (tables === null) return <Skeleton height={240} radius="md" />
  const names = tables.map(({ name }) => name)
  const byName = [...tables].sort((a, b) => nameTable(a.name).localeCompare(nameTable(b.name)))
  return (
    <div className={classes.tablesBox} ref={box}>
      <Checkbox.Group
        label="Tables"
        description={`${ticked.length} of ${names.length} ticked`}
        value={[...ticked]}
        onChange={onChange}
        error={fault ?? undefined}
      >
        <div className={classes.tables}>
          {byName.map(({ name }) => (
            <Checkbox
              key={name}
              value={name}
              py={4}
              label={nameTable(name)}
              description={technicalName(name) ?? undefined}
            />
          ))}
        </div>
      </Checkbox.Group>
      <Group gap="sm">
        <Button size="compact-sm" variant="default" onClick={() => onChange(names)}>
          Tick all
        </Button>
        <Button size="compact-sm" variant="default" onClick={() => onChange([])}>
          Tick none
        </Button>
      </Group>
    </div>
  )
}

function Switches({
  fieldRef,
  choices,
  history,
  fault,
  onChange,
}: {
  fieldRef: React.RefObject<HTMLDivElement | null>
  choices: Choices
  /** Tables that are a trail of what happened. */
  history: readonly string[]
  fault: string | null
  onChange: (changes: Partial<Choices>) => void
}) {
  const box = useRef<HTMLDivElement>(null)
  useEffect(() => {
    fieldRef.current = box.current
  })
  const rows = [
    {
      field: 'missing' as const,
      label: 'Rows deleted since',
      restore: 'Bring back',
      keep: 'Leave deleted',
    },
    {
      field: 'changed' as const,
      label: 'Rows changed since',
      restore: 'Earlier values',
      keep: 'Today’s values',
    },
    { field: 'newer' as const, label: 'Rows added since', restore: 'Remove', keep: 'Keep' },
    ...(choices.newer === 'restore' && history.length > 0
      ? [
          {
            field: 'history' as const,
            label: `… in ${nameTables(history)}, the trail of what happened`,
            restore: 'Remove',
            keep: 'Keep',
          },
        ]
      : []),
  ]
  return (
    <div>
      <div className={classes.switches} ref={box}>
        {rows.map(({ field, label, restore, keep }) => (
          <Switch
            key={field}
            label={label}
            value={choices[field]}
            labels={{ restore, keep }}
            onChange={(value) => onChange({ [field]: value })}
          />
        ))}
      </div>
      {fault !== null && (
        <Text c="var(--mantine-color-error)" size="sm" mt={6} role="alert">
          {fault}
        </Text>
      )}
    </div>
  )
}

function Switch({
  label,
  value,
  labels,
  onChange,
}: {
  label: string
  value: 'restore' | 'keep'
  labels: { restore: string; keep: string }
  onChange: (value: 'restore' | 'keep') => void
}) {
  return (
    <>
      <Text size="sm">{label}</Text>
      <SegmentedControl
        aria-label={label}
        value={value}
        onChange={(next) => onChange(next === 'restore' ? 'restore' : 'keep')}
        data={[
          { value: 'restore', label: labels.restore },
          { value: 'keep', label: labels.keep },
        ]}
      />
    </>
  )
}
