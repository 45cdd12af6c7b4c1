import { Button, Checkbox, CloseButton, Paper, Radio, Text, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { useEffect, useRef, useState } from 'react'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import { ListSkeleton, Pages } from '../frame/list-parts.tsx'
import { nameTable } from '../frame/name-table.ts'
import restore from '../restore/restore.module.css'
import { Choice } from '../restore/restore-parts.tsx'
import { listTenants } from '../tenants/read-tenants.ts'
import classes from './defaults.module.css'
import { MODES } from './describe-seeding.ts'
import { Mode } from './read-seeding.ts'
import { findSeedFault, type SeedDraft } from './seed-draft.ts'
import type { SeedViewProps } from './seed-view.tsx'

interface SeedChooseProps extends SeedViewProps {
  draft: SeedDraft
  onChange: (change: Partial<SeedDraft>) => void
  onNext: () => void
}

/** Whom, what, and what becomes of rows that are there. */
export function SeedChoose({ draft, onChange, onNext, onClose, ...props }: SeedChooseProps) {
  const [isChecked, setChecked] = useState(false)
  const fault = isChecked ? findSeedFault(draft) : null
  const panel = useRef<HTMLDivElement>(null)
  const names = props.defaults.tables.map(({ name }) => name)
  const next = () => {
    setChecked(true)
    const found = findSeedFault(draft)
    if (found === null) onNext()
    else
      panel.current?.querySelector<HTMLInputElement>(`[data-part="${found.field}"] input`)?.focus()
  }
  return (
    <>
      <Paper withBorder className={restore.panel} ref={panel}>
        <fieldset className={restore.fieldset} data-part="tenants">
          <legend className={restore.legend}>Which tenants?</legend>
          <Radio.Group
            aria-label="Which tenants?"
            value={draft.isAll ? 'all' : 'some'}
            onChange={(value) => onChange({ isAll: value === 'all' })}
          >
            <div className={restore.sideBySide}>
              <Choice value="some" label="Those that I tick" />
              <Choice value="all" label="All tenants" trap="Paused ones are left out." />
            </div>
          </Radio.Group>
          {!draft.isAll && <TenantTicks {...props} draft={draft} onChange={onChange} />}
          {fault?.field === 'tenants' && (
            <Text size="sm" c="var(--mantine-color-error)" role="alert">
              {fault.text}
            </Text>
          )}
        </fieldset>
        <fieldset className={restore.fieldset} data-part="tables">
          <legend className={restore.legend}>Which tables?</legend>
          <Checkbox
            label={`All ${names.length} tables of the defaults`}
            checked={draft.tables === null}
            onChange={(event) => onChange({ tables: event.currentTarget.checked ? null : [] })}
          />
          {draft.tables !== null && (
            <div className={restore.tablesBox}>
              <div className={`${restore.tables} ${classes.ticks}`}>
                {names.map((name) => (
                  <Checkbox
                    key={name}
                    label={nameTable(name)}
                    checked={draft.tables?.includes(name) === true}
                    onChange={(event) => {
                      const others = (draft.tables ?? []).filter((other) => other !== name)
                      onChange({ tables: event.currentTarget.checked ? [...others, name] : others })
                    }}
                  />
                ))}
              </div>
            </div>
          )}
          {fault?.field === 'tables' && (
            <Text size="sm" c="var(--mantine-color-error)" role="alert">
              {fault.text}
            </Text>
          )}
        </fieldset>
        <Radio.Group
          label="And what becomes of rows that tenants have already?"
          classNames={{ label: restore.legend ?? '' }}
          value={draft.mode}
          onChange={(value) => {
            const mode = Mode.safeParse(value)
            if (mode.success) onChange({ mode: mode.data })
          }}
        >
          <div className={restore.choices}>
            {Object.entries(MODES).map(([mode, { label, trap }]) => (
              <Choice key={mode} value={mode} label={label} trap={trap} />
            ))}
          </div>
        </Radio.Group>
      </Paper>
      <div className={restore.foot}>
        <div className={restore.actions}>
          <Button variant="default" size="md" onClick={onClose}>
            Cancel
          </Button>
          <Button size="md" onClick={next}>
            Rehearse
          </Button>
        </div>
        <Text size="sm" c="dimmed" className={restore.footNote}>
          Rehearsing does everything and takes it back. Nothing is written.
        </Text>
      </div>
    </>
  )
}

function TenantTicks({
  services,
  isNarrow,
  announce,
  draft,
  onChange,
}: Pick<SeedChooseProps, 'services' | 'isNarrow' | 'announce' | 'draft' | 'onChange'>) {
  const [typed, setTyped] = useState('')
  const [page, setPage] = useState(1)
  const [search] = useDebouncedValue(typed.trim(), 300)
  const tenants = useQuery({
    queryKey: ['tenants', search, page],
    queryFn: ({ signal }) => listTenants(services, { search, page }, signal),
    placeholderData: keepPreviousData,
  })
  const found = search === '' || tenants.isPlaceholderData ? undefined : tenants.data?.total
  useEffect(() => {
    if (found !== undefined) announce(`${formatPlural(found, 'tenant')} found`)
  }, [announce, found])
  const listed = (tenants.data?.rows ?? []).filter(({ isTemplate }) => !isTemplate)
  const isTicked = (id: string) => draft.tenants.some((tenant) => tenant.id === id)
  const tick = (tenant: { id: string; name: string }, isOn: boolean) => {
    const others = draft.tenants.filter(({ id }) => id !== tenant.id)
    onChange({ tenants: isOn ? [...others, tenant] : others })
  }
  const ticked = draft.tenants.map(({ name }) => name)
  return (
    <div className={restore.tablesBox}>
      <TextInput
        aria-label="Search tenants"
        placeholder="Name, or how its id begins"
        size={isNarrow ? 'md' : 'sm'}
        leftSection={<Icon name="search" />}
        value={typed}
        maxLength={200}
        onChange={(event) => {
          setTyped(event.currentTarget.value)
          setPage(1)
        }}
        rightSection={
          typed === '' ? null : (
            <CloseButton size="sm" aria-label="Clear the search" onClick={() => setTyped('')} />
          )
        }
      />
      {tenants.isError && (
        <ErrorNotice
          error={tenants.error}
          what="The tenants could not be loaded"
          onRetry={() => tenants.refetch()}
        />
      )}
      {tenants.data === undefined && !tenants.isError && <ListSkeleton isNarrow={isNarrow} />}
      {tenants.data !== undefined && listed.length === 0 && (
        <Text size="sm" c="dimmed">
          {search === '' ? 'There is no tenant yet.' : `No tenant matches “${search}”.`}
        </Text>
      )}
      <div className={`${restore.tables} ${classes.ticks}`}>
        {listed.map((tenant) => (
          <Checkbox
            key={tenant.id}
            label={tenant.name}
            checked={isTicked(tenant.id)}
            onChange={(event) =>
              tick({ id: tenant.id, name: tenant.name }, event.currentTarget.checked)
            }
          />
        ))}
      </div>
      <Pages
        page={page}
        total={tenants.data?.total ?? 0}
        label="Pages of tenants"
        onChange={setPage}
      />
      <div className={classes.ticked}>
        <Text size="sm" fw={600}>
          {ticked.length === 0
            ? 'None ticked'
            : `${formatPlural(ticked.length, 'tenant')} ticked: ${ticked.slice(0, 5).join(', ')}${ticked.length > 5 ? ` and ${ticked.length - 5} more` : ''}`}
        </Text>
        {ticked.length > 0 && (
          <Button size="compact-sm" variant="subtle" onClick={() => onChange({ tenants: [] })}>
            Clear
          </Button>
        )}
      </div>
    </div>
  )
}
