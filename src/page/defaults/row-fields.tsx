import { Checkbox, NativeSelect, Text, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import type { PageServices } from '../calls/call-function.ts'
import { Nothing } from '../frame/list-parts.tsx'
import shared from '../frame/page.module.css'
import classes from './defaults.module.css'
import {
  choicesOf,
  describeColumn,
  describeReadOnly,
  type FieldKind,
  fromInstantField,
  kindOf,
  nameRow,
  readTyped,
  toInstantField,
} from './describe-column.ts'
import { type DefaultColumn, readChoices, type Values } from './read-defaults.ts'

interface FieldsProps {
  services: PageServices
  columns: readonly DefaultColumn[]
  /** As it is stored; empty for a new row. */
  stored: Values
  /** What was typed, by column; others are as stored. */
  typed: Values
  faults: Readonly<Record<string, string>>
  isNew: boolean
  templateId: string
  /** Tables whose rows can be named. */
  tables: readonly string[]
  /** Undefined takes back what was typed. */
  onType: (column: string, value: string | null | undefined) => void
}

/** The id of a field, so that a fault can bring the focus to it. */
export const fieldId = (column: string) => `tenantkeep-field-${column}`

/** A form made from the columns of a table. */
export function RowFields(props: FieldsProps) {
  const { columns, isNew, stored } = props
  const edited = columns.filter((column) => describeReadOnly(column, { isNew }) === null)
  const shown = isNew
    ? []
    : columns.filter((column) => describeReadOnly(column, { isNew }) !== null)
  return (
    <>
      <div className={classes.fields}>
        {edited.map((column) => (
          <RowField key={column.name} column={column} {...props} />
        ))}
      </div>
      {shown.length > 0 && (
        <dl className={classes.readOnly} aria-label="Not edited here">
          {shown.map((column) => (
            <div key={column.name}>
              <dt>{column.name}</dt>
              <dd>
                {column.isMasked ? '•••••' : (stored[column.name] ?? <Nothing />)}
                <Text span size="xs" c="dimmed" display="block">
                  {describeReadOnly(column, { isNew })}
                </Text>
              </dd>
            </div>
          ))}
        </dl>
      )}
    </>
  )
}

function RowField(props: FieldsProps & { column: DefaultColumn }) {
  const { column, stored, typed, faults, isNew, onType } = props
  const { name } = column
  const isTyped = Object.hasOwn(typed, name)
  const value = isTyped ? typed[name] : stored[name]
  // By what is stored: what is being typed must not exchange the field under one's hands.
  const kind = kindOf(column, stored[name])
  const type = (text: string) => onType(name, readTyped(column, text, { isNew }))
  const isNull = value === null || value === undefined
  const field = {
    id: fieldId(name),
    label: name,
    description: describeField(column, kind, { isNew, isTyped }),
    error: faults[name],
    value: value ?? '',
    withAsterisk: !column.isNullable && !(isNew && column.hasDefault),
    autoComplete: 'off',
  }
  return (
    <div className={kind === 'json' || kind === 'text' ? classes.wide : undefined}>
      {kind === 'choice' ? (
        <ChoiceField {...props} field={field} choices={choicesOf(column)} onChange={type} />
      ) : kind === 'row' ? (
        <NamedRow {...props} field={field} onChange={type} />
      ) : kind === 'text' || kind === 'json' ? (
        <Textarea
          {...field}
          autosize
          minRows={kind === 'json' ? 2 : 1}
          maxRows={12}
          spellCheck={kind === 'text'}
          classNames={kind === 'json' ? { input: classes.code ?? '' } : {}}
          onChange={(event) => type(event.currentTarget.value)}
        />
      ) : kind === 'instant' ? (
        <TextInput
          {...field}
          type="datetime-local"
          step={1}
          value={toInstantField(column.type, field.value)}
          onChange={(event) => type(fromInstantField(column.type, event.currentTarget.value))}
        />
      ) : (
        <TextInput
          {...field}
          type={kind === 'date' || kind === 'time' ? kind : 'text'}
          inputMode={kind === 'number' ? 'decimal' : undefined}
          step={kind === 'time' ? 1 : undefined}
          onChange={(event) => type(event.currentTarget.value)}
        />
      )}
      {kind === 'text' && column.isNullable && (
        <Checkbox
          mt={6}
          size="xs"
          label={
            <>
              No value<span className={shared.hidden}> for {name}</span>
            </>
          }
          checked={isNull}
          onChange={(event) => onType(name, event.currentTarget.checked ? null : '')}
        />
      )}
    </div>
  )
}

function describeField(
  column: DefaultColumn,
  kind: FieldKind,
  { isNew, isTyped }: { isNew: boolean; isTyped: boolean },
): string {
  const words = describeColumn(column, kind)
  if (!isNew || !column.hasDefault || isTyped) return words
  return `${words}${words === '' ? 'L' : ' · l'}eft empty, the database fills it in`
}

interface ChosenProps {
  column: DefaultColumn
  isNew: boolean
  field: {
    id: string
    label: string
    description: string
    value: string
    withAsterisk: boolean
  } & {
    error: string | undefined
  }
  onChange: (value: string) => void
}

function ChoiceField({
  column,
  isNew,
  field,
  choices,
  onChange,
}: ChosenProps & { choices: { value: string; label: string }[] }) {
  const isKnown = field.value === '' || choices.some(({ value }) => value === field.value)
  const mayBeEmpty = column.isNullable || isNew || field.value === ''
  return (
    <NativeSelect
      {...field}
      onChange={(event) => onChange(event.currentTarget.value)}
      data={[
        ...(mayBeEmpty ? [{ value: '', label: column.isNullable ? 'No value' : 'Choose…' }] : []),
        ...(isKnown ? [] : [{ value: field.value, label: field.value }]),
        ...choices,
      ]}
    />
  )
}

/** A row of the template that another one names; of other tables, and where there are many, its key is typed. */
function NamedRow(
  props: ChosenProps & Pick<FieldsProps, 'services' | 'tables' | 'templateId'> & { typed: Values },
) {
  const { services, tables, column, field, onChange, templateId } = props
  const table = column.refersTo?.table ?? ''
  const named = column.refersTo?.column ?? ''
  const rows = useQuery({
    queryKey: ['defaults', 'choices', table],
    queryFn: ({ signal }) => readChoices(services, table, signal),
    enabled: tables.includes(table),
  })
  if (rows.data == null) {
    return <TextInput {...field} onChange={(event) => onChange(event.currentTarget.value)} />
  }
  const choices = rows.data.flatMap((row) => {
    const value = row.values[named]
    return value == null ? [] : [{ value, label: nameRow(row, templateId) }]
  })
  return <ChoiceField {...props} choices={choices} />
}
