import { Button, Paper, Textarea, Title } from '@mantine/core'
import { useRef, useState } from 'react'
import { MAX_NOTE } from '../backups/start-backup.ts'
import { formatCount, formatPlural } from '../frame/format.ts'
import { nameTables } from '../frame/name-table.ts'
import { TypedWord, useTypedWord } from '../frame/typed-word.tsx'
import restore from '../restore/restore.module.css'
import { Fact } from '../restore/restore-parts.tsx'
import { sumUp } from './describe-seeding.ts'
import type { DefaultTable } from './read-defaults.ts'
import type { SeedRun } from './read-seeding.ts'
import type { SeedDraft } from './seed-draft.ts'

interface SeedConfirmProps {
  plan: SeedRun
  draft: SeedDraft
  tables: readonly DefaultTable[]
  template: { name: string }
  onNote: (note: string) => void
  onBack: () => void
  onConfirm: () => void
}

/** What is added and what is lost, the way back; and the only button that writes. */
export function SeedConfirm(props: SeedConfirmProps) {
  const { plan, draft, tables, template, onNote, onBack, onConfirm } = props
  const tenants = plan.tenants.filter(({ status }) => status === 'complete')
  const { inserted, updated, adopted } = sumUp(tenants)
  const isLossy = updated > 0
  const [only] = tenants
  const isOne = tenants.length === 1 && only !== undefined
  const whom = isOne ? only.name : formatPlural(tenants.length, 'tenant')
  const word = useTypedWord(isOne ? only.name : String(updated), isOne ? 'name' : 'number')
  const [isBusy, setBusy] = useState(false)
  const noteField = useRef<HTMLTextAreaElement>(null)
  const noteFault =
    draft.note.trim().length > MAX_NOTE
      ? `The note must be ${formatCount(MAX_NOTE)} characters or fewer`
      : null
  const confirm = () => {
    if (isBusy) return
    if (noteFault !== null) {
      noteField.current?.focus()
      return
    }
    if (isLossy && !word.check()) return
    setBusy(true)
    onConfirm()
  }
  return (
    <>
      <Paper withBorder className={restore.panel}>
        <Title order={3} size="h4">
          Seed {whom} with{' '}
          {draft.tables === null
            ? `all ${formatPlural(tables.length, 'table')} of the defaults`
            : nameTables(draft.tables)}
          ?
        </Title>
        <ul className={restore.facts}>
          {inserted > 0 && (
            <Fact icon="plus">
              {formatPlural(inserted, 'row')} {inserted === 1 ? 'is' : 'are'} added.
            </Fact>
          )}
          {isLossy && (
            <Fact icon="attention" tone="loss">
              <strong>
                {formatPlural(updated, 'row')} {updated === 1 ? 'loses its' : 'lose their'} present
                values.
              </strong>{' '}
              {updated === 1 ? 'It gets' : 'They get'} those of the template.
            </Fact>
          )}
          {adopted > 0 && (
            <Fact icon="check">
              {formatPlural(adopted, 'row')} of {isOne ? 'the tenant’s' : 'tenants’'} own{' '}
              {adopted === 1 ? 'counts as a copy' : 'count as copies'} from now on, unchanged.
            </Fact>
          )}
          {isLossy && (
            <Fact icon="check" tone="good">
              First a safety backup of each tenant that loses values is taken and verified. The
              seeding can be undone with it.
            </Fact>
          )}
          <Fact icon="check" tone="good">
            Each tenant gets all of it at once, or nothing. One that fails stops no other.
          </Fact>
          <Fact icon="check" tone="good">
            Only {whom} {isOne ? 'is' : 'are'} touched; {template.name} stays as it is.
          </Fact>
        </ul>
        <Textarea
          ref={noteField}
          label="Why? (optional)"
          description="For whoever reads the history later"
          value={draft.note}
          onChange={(event) => onNote(event.currentTarget.value)}
          error={noteFault ?? undefined}
          autosize
          minRows={2}
          maxRows={6}
        />
        {isLossy && <TypedWord {...word.props} />}
      </Paper>
      <div className={restore.actions}>
        <Button variant="default" size="md" onClick={onBack} disabled={isBusy}>
          Back
        </Button>
        <Button size="md" color={isLossy ? 'red' : 'blue'} loading={isBusy} onClick={confirm}>
          Seed {whom}
        </Button>
      </div>
    </>
  )
}
