import { Alert, Button, Modal, Paper, Text, Textarea } from '@mantine/core'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { type ReactNode, useRef, useState } from 'react'
import * as z from 'zod/mini'
import { MAX_NOTE } from '../backups/start-backup.ts'
import { RequestFailed } from '../calls/call-function.ts'
import { formatCount } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import { nameTable } from '../frame/name-table.ts'
import shared from '../frame/page.module.css'
import restore from '../restore/restore.module.css'
import { useHeading, ViewHeading } from '../restore/restore-parts.tsx'
import classes from './defaults.module.css'
import { DefaultsFailure } from './defaults-failure.tsx'
import {
  describeReadOnly,
  describeReason,
  findChanges,
  findDifferences,
  findFaults,
  nameRow,
  type Side,
  settle,
} from './describe-column.ts'
import type { PanelProps } from './panel-props.ts'
import {
  changeRow,
  DefaultRow,
  type DefaultTable,
  type RowChange,
  type RowRequest,
  readBadColumns,
  type Values,
} from './read-defaults.ts'
import { RowConflict } from './row-conflict.tsx'
import { fieldId, RowFields } from './row-fields.tsx'

/** A row that somebody edits; it lies in the tab until it is saved, so that nothing typed is lost. */
export const RowDraft = z.object({
  table: z.string(),
  /** As it was read, with its version; null for a new one. */
  row: z.nullable(DefaultRow),
  typed: z.record(z.string(), z.nullable(z.string())),
  note: z.string(),
  /** The last try to add it: the same again goes under the same key, so that a lost answer doubles nothing. */
  tried: z.nullable(z.object({ body: z.string(), key: z.string() })),
})
export type RowDraft = z.infer<typeof RowDraft>

interface RowFormProps extends PanelProps {
  table: DefaultTable
  tables: readonly string[]
  template: { id: string; name: string }
  draft: RowDraft
  onDraft: (change: Partial<RowDraft>) => void
  /** Saved, deleted or given up: back to the rows, with what is to be said. */
  onDone: (said: string | null) => void
}

/** One row of the template in a form; what somebody else saved meanwhile is shown beside what was typed. */
export function RowForm(props: RowFormProps) {
  const { services, table, template, draft, onDraft, onDone, announce } = props
  const { row } = draft
  const isNew = row === null
  const queries = useQueryClient()
  const [faults, setFaults] = useState<Record<string, string>>({})
  const [theirs, setTheirs] = useState<DefaultRow | 'gone' | null>(null)
  const [isAsking, setAsking] = useState(false)
  const deleteButton = useRef<HTMLButtonElement>(null)
  const name = row === null ? '' : nameRow(row, template.id)
  const what = isNew ? `New row of ${nameTable(table.name)}` : `${name} in ${nameTable(table.name)}`
  const heading = useHeading(what, theirs === null ? 'form' : 'conflict')
  const note = draft.note.trim() === '' ? {} : { note: draft.note.trim() }
  const noteFault =
    draft.note.trim().length > MAX_NOTE
      ? `The note must be ${formatCount(MAX_NOTE)} characters or fewer`
      : null

  const finish = (said: string | null) => {
    void queries.invalidateQueries({ queryKey: ['defaults'] })
    void queries.invalidateQueries({ queryKey: ['history', template.id] })
    onDone(said)
  }
  const change = useMutation({
    mutationFn: (request: RowRequest) => changeRow(services, request),
    onSuccess: (answer, request) => end(answer, request),
    onError: (error) => {
      const bad = Object.entries(readBadColumns(error))
      showFaults(Object.fromEntries(bad.map(([column, why]) => [column, describeReason(why)])))
      // The frame watches queries: the next that is refused asks the person to sign in.
      if (error instanceof RequestFailed && error.code === 'not_signed_in') {
        void queries.refetchQueries({ type: 'active' })
      }
    },
  })
  const showFaults = (found: Record<string, string>) => {
    setFaults(found)
    const first = table.columns.find((column) => Object.hasOwn(found, column.name))
    if (first !== undefined) document.getElementById(fieldId(first.name))?.focus()
  }
  const end = (answer: RowChange, request: RowRequest) => {
    if (answer.isSaved) {
      finish(request.action === 'delete' ? 'The row was deleted.' : 'The row was saved.')
      return
    }
    if (answer.current === null) {
      if (request.action === 'delete') finish('Somebody else had deleted the row already.')
      else setTheirs('gone')
      return
    }
    const isMine =
      request.action === 'save' &&
      Object.entries(request.values).every(
        ([column, value]) => answer.current?.values[column] === value,
      )
    // The answer to an earlier try was lost: what is there is what was typed.
    if (isMine) finish('The row was saved.')
    else setTheirs(answer.current)
  }
  const save = (from: DefaultRow | null, typed: Values) => {
    if (change.isPending) return
    const found = findFaults(table.columns, typed, { isNew: from === null })
    if (Object.keys(found).length > 0) {
      showFaults(found)
      return
    }
    if (noteFault !== null) return
    setFaults({})
    if (from === null) {
      const body = JSON.stringify([typed, note])
      const key = draft.tried?.body === body ? draft.tried.key : crypto.randomUUID()
      onDraft({ tried: { body, key } })
      const request = { action: 'insert', table: table.name, values: typed, ...note } as const
      change.mutate({ ...request, idempotency_key: key })
      return
    }
    const values = findChanges(typed, from.values)
    if (Object.keys(values).length === 0) {
      finish('Nothing was changed.')
      return
    }
    const { key, version } = from
    change.mutate({ action: 'save', table: table.name, key, version, values, ...note })
  }

  if (theirs !== null && theirs !== 'gone' && row !== null) {
    const differences = findDifferences(row.values, theirs.values, draft.typed)
    const settled = (sides: Record<string, Side>) => settle(draft.typed, differences, sides)
    return (
      <RowConflict
        heading={heading}
        name={name}
        table={table}
        differences={differences}
        isBusy={change.isPending}
        failure={change.error}
        onSave={(sides) => {
          const typed = settled(sides)
          onDraft({ row: theirs, typed })
          save(theirs, typed)
        }}
        onEdit={(sides) => {
          onDraft({ row: theirs, typed: settled(sides) })
          change.reset()
          setTheirs(null)
          announce('Both versions are in the form now.')
        }}
      />
    )
  }
  const isBad = Object.keys(faults).length > 0
  return (
    <section className={classes.view} aria-labelledby="tenantkeep-row">
      <BackButton onClick={() => onDone(null)}>Back to {nameTable(table.name)}</BackButton>
      <div>
        <ViewHeading id="tenantkeep-row" headingRef={heading}>
          {what}
        </ViewHeading>
        <Text c="dimmed" size="sm" mt={4} maw="68ch">
          {isNew
            ? 'New tenants start with it from now on. Tenants that are there get it when they are seeded.'
            : 'Tenants that are there get the new values when they are seeded with «bring up to date».'}
        </Text>
      </div>
      {theirs === 'gone' && (
        <Gone
          onAddAgain={() => {
            onDraft({ row: null, typed: copyOf(table, draft) })
            setTheirs(null)
            announce('It is a new row now.')
          }}
          onGiveUp={() => finish(null)}
        />
      )}
      {change.isError && (
        <DefaultsFailure
          error={change.error}
          what={`The row was not ${isNew ? 'added' : change.variables.action === 'delete' ? 'deleted' : 'saved'}`}
          isBadInput={isBad}
        />
      )}
      <form
        noValidate
        className={classes.form}
        onSubmit={(event) => {
          event.preventDefault()
          save(row, draft.typed)
        }}
      >
        <Paper withBorder className={restore.panel}>
          <RowFields
            services={services}
            columns={table.columns}
            stored={row?.values ?? {}}
            typed={draft.typed}
            faults={faults}
            isNew={isNew}
            templateId={template.id}
            tables={props.tables}
            onType={(column, value) => {
              const { [column]: _, ...others } = draft.typed
              onDraft({ typed: value === undefined ? others : { ...others, [column]: value } })
              const { [column]: __, ...left } = faults
              setFaults(left)
            }}
          />
          <Textarea
            label="Why? (optional)"
            description="For whoever reads the history later"
            value={draft.note}
            onChange={(event) => onDraft({ note: event.currentTarget.value })}
            error={noteFault ?? undefined}
            autosize
            minRows={1}
            maxRows={6}
          />
        </Paper>
        <div className={restore.actions}>
          {!isNew && (
            <Button
              ref={deleteButton}
              variant="default"
              size="md"
              className={restore.actionsStart ?? ''}
              onClick={() => noteFault === null && setAsking(true)}
            >
              Delete…
            </Button>
          )}
          <Button variant="default" size="md" onClick={() => onDone(null)}>
            Cancel
          </Button>
          <Button type="submit" size="md" loading={change.isPending}>
            {isNew ? 'Add the row' : 'Save the row'}
          </Button>
        </div>
      </form>
      {row !== null && (
        <DeleteDialog
          name={name}
          isOpen={isAsking}
          onCancel={() => {
            setAsking(false)
            deleteButton.current?.focus()
          }}
          onDelete={() => {
            setAsking(false)
            const { key, version } = row
            change.mutate({ action: 'delete', table: table.name, key, version, ...note })
          }}
        />
      )}
    </section>
  )
}

/** Everything that a new row can be given, of what was there and what was typed. */
function copyOf({ columns }: DefaultTable, { row, typed }: RowDraft): Values {
  const all: Values = { ...row?.values, ...typed }
  const given = columns.filter(
    (column) =>
      describeReadOnly(column, { isNew: true }) === null && !(column.isKey && column.hasDefault),
  )
  return Object.fromEntries(
    given.flatMap(({ name }) => (all[name] === undefined ? [] : [[name, all[name]]])),
  )
}

/** Back to where a view was opened. */
export function BackButton({ children, onClick }: { children: ReactNode; onClick: () => void }) {
  return (
    <Button
      variant="subtle"
      size="compact-sm"
      leftSection={<Icon name="left" />}
      className={classes.back}
      onClick={onClick}
    >
      {children}
    </Button>
  )
}

function Gone({ onAddAgain, onGiveUp }: { onAddAgain: () => void; onGiveUp: () => void }) {
  return (
    <Alert
      color="yellow"
      icon={<Icon name="attention" />}
      title="Somebody deleted this row meanwhile"
      role="alert"
    >
      <Text size="sm">
        Nothing was saved. What you typed is still here: add it again as a new row, or leave it
        deleted.
      </Text>
      <div className={classes.alertActions}>
        <Button size="xs" variant="default" onClick={onAddAgain}>
          Make it a new row
        </Button>
        <Button size="xs" variant="default" onClick={onGiveUp}>
          Leave it deleted
        </Button>
      </div>
    </Alert>
  )
}

function DeleteDialog({
  name,
  isOpen,
  onCancel,
  onDelete,
}: {
  name: string
  isOpen: boolean
  onCancel: () => void
  onDelete: () => void
}) {
  return (
    <Modal
      opened={isOpen}
      onClose={onCancel}
      title={`Delete ${name}?`}
      classNames={{ title: shared.dialogTitle ?? '' }}
      closeButtonProps={{ 'aria-label': 'Close' }}
      size="md"
      returnFocus={false}
    >
      <div className={restore.foot}>
        <Text size="sm">
          New tenants no longer get it. Tenants that have a copy keep theirs. Rows of the template
          that belong to it, such as the lines of an order, may go with it. A version of the
          defaults from before brings them back.
        </Text>
        <div className={restore.actions}>
          <Button variant="default" size="md" onClick={onCancel} data-autofocus>
            Cancel
          </Button>
          <Button size="md" color="red" onClick={onDelete}>
            Delete the row
          </Button>
        </div>
      </div>
    </Modal>
  )
}

/** Whether anything was typed that is not stored. */
export function hasTyped({ row, typed, note }: RowDraft): boolean {
  return Object.keys(findChanges(typed, row?.values ?? {})).length > 0 || note.trim() !== ''
}
