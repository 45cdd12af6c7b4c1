import { Button, Paper, Textarea, Title } from '@mantine/core'
import { useRef, useState } from 'react'
import type { Backup } from '../backups/read-backups.ts'
import { MAX_NOTE } from '../backups/start-backup.ts'
import { formatCount, formatPlural } from '../frame/format.ts'
import { Day } from '../frame/times.tsx'
import { TypedWord, useTypedWord } from '../frame/typed-word.tsx'
import type { ViewProps } from '../frame/view-props.ts'
import classes from './restore.module.css'
import { BackupTime, Fact } from './restore-parts.tsx'
import { addUp, type Totals, type Validation } from './validate-restore.ts'

const DAY_MS = 86_400_000

interface ConfirmStepProps {
  tenant: ViewProps['tenant']
  backup: Backup
  validation: Validation
  /** For so many days it can be undone; null where that is not known. */
  undoDays: number | null
  note: string
  onNote: (note: string) => void
  onBack: () => void
  onConfirm: () => void
}

/** What is lost, what is kept, the way back; and the only button that writes. */
export function ConfirmStep(props: ConfirmStepProps) {
  const { tenant, backup, validation, undoDays, note, onNote, onBack, onConfirm } = props
  const totals = addUp(validation.report, validation)
  const isAccessGiven = validation.decisions.some(
    ({ kind, answer }) => kind === 'access_changes' && answer === 'accept',
  )
  const isLossy = totals.updated + totals.deleted > 0
  const mustType = isLossy || isAccessGiven
  const name = useTypedWord(tenant.name, 'name')
  const [isBusy, setBusy] = useState(false)
  const noteFault =
    note.length > MAX_NOTE ? `Note must be ${formatCount(MAX_NOTE)} characters or fewer` : null
  const noteField = useRef<HTMLTextAreaElement>(null)

  const confirm = () => {
    if (isBusy) return
    if (noteFault !== null) {
      noteField.current?.focus()
      return
    }
    if (mustType && !name.check()) return
    setBusy(true)
    onConfirm()
  }

  return (
    <>
      <Paper withBorder className={classes.panel}>
        <Title order={3} size="h4">
          Restore {tenant.name} to <BackupTime backup={backup} />?
        </Title>
        <ul className={classes.facts}>
          <Losses totals={totals} />
          {isAccessGiven && (
            <Fact icon="attention" tone="loss">
              <strong>People or keys get access again</strong> that was taken away since.
            </Fact>
          )}
          <Fact icon="check" tone="good">
            First a safety backup of today’s data is taken and verified. If that fails, nothing
            happens.
          </Fact>
          <Fact icon="check" tone="good">
            You can undo this restore{' '}
            {undoDays === null ? (
              'for as long as its safety backup is kept'
            ) : (
              <>
                until <Day value={new Date(Date.now() + undoDays * DAY_MS)} />
              </>
            )}
            .
          </Fact>
          <Fact icon="check" tone="good">
            Everything is written at once, or nothing at all. Only {tenant.name} is touched.
          </Fact>
        </ul>
        <Textarea
          ref={noteField}
          label="Why? (optional)"
          description="For whoever reads the history later"
          value={note}
          onChange={(event) => onNote(event.currentTarget.value)}
          error={noteFault ?? undefined}
          autosize
          minRows={2}
          maxRows={6}
        />
        {mustType && <TypedWord {...name.props} />}
      </Paper>
      <div className={classes.actions}>
        <Button variant="default" size="md" onClick={onBack} disabled={isBusy}>
          Back
        </Button>
        <Button size="md" color={isLossy ? 'red' : 'blue'} loading={isBusy} onClick={confirm}>
          Restore {formatPlural(totals.written, 'row')}
        </Button>
      </div>
    </>
  )
}

function Losses({ totals: { inserted, updated, deleted, untouched } }: { totals: Totals }) {
  return (
    <>
      {inserted > 0 && (
        <Fact icon="plus">
          {formatPlural(inserted, 'row')} {inserted === 1 ? 'comes' : 'come'} back.
        </Fact>
      )}
      {updated > 0 && (
        <Fact icon="attention" tone="loss">
          <strong>
            {formatPlural(updated, 'row')} {updated === 1 ? 'loses its' : 'lose their'} present
            values.
          </strong>{' '}
          {updated === 1 ? 'It gets' : 'They get'} the values of the backup.
        </Fact>
      )}
      {deleted > 0 && (
        <Fact icon="cross" tone="loss">
          <strong>
            {formatPlural(deleted, 'row')} {deleted === 1 ? 'is' : 'are'} removed.
          </strong>{' '}
          {deleted === 1 ? 'It was' : 'They were'} added after the backup.
        </Fact>
      )}
      {untouched > 0 && (
        <Fact icon="nothing">
          {formatPlural(untouched, 'row')} {untouched === 1 ? 'stays as it is' : 'stay as they are'}
          .
        </Fact>
      )}
    </>
  )
}
