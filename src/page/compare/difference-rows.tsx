import { Badge, Checkbox, UnstyledButton } from '@mantine/core'
import { type ReactNode, useContext, useState } from 'react'
import { formatPlural, formatTime } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import { nameTable } from '../frame/name-table.ts'
import shared from '../frame/page.module.css'
import { UtcTimes } from '../frame/times.tsx'
import classes from './compare.module.css'
import {
  type Direction,
  describeKind,
  findMatches,
  findShownColumns,
  keyOf,
  readInstant,
} from './describe-comparison.ts'
import type { ColumnDifference, ComparedTable, RowDifference } from './read-comparison.ts'
import type { Tickable, Ticks } from './use-ticks.ts'

interface RowsProps {
  rows: readonly RowDifference[]
  tenantId: string
  /** Of which tables the rows are, by name. */
  tables: ReadonlyMap<string, ComparedTable>
  /** Whether rows of several tables are shown together. */
  isMixed: boolean
  direction: Direction
  /** What the two sides are called above their values. */
  sides: { before: ReactNode; after: ReactNode }
  ticks: Ticks
  onTick: (rows: readonly Tickable[], isTicked: boolean) => void
  /** What was searched for; marked where it is found. */
  search: string
  caption: string
}

/** The rows of a page that can be ticked. */
export function findTickable({ rows, tables }: Pick<RowsProps, 'rows' | 'tables'>): Tickable[] {
  return rows.flatMap((row) => {
    const key = keyOf(row, tables.get(row.table))
    return key === null ? [] : [{ table: row.table, key, kind: row.kind }]
  })
}

/** Rows that differ, their columns side by side. */
export function DifferenceTable(props: RowsProps) {
  const tickable = findTickable(props)
  const ticked = tickable.filter(({ table, key }) => props.ticks.has(table, key)).length
  return (
    <table className={classes.rows}>
      <caption className={shared.hidden}>{props.caption}</caption>
      <thead>
        <tr>
          {tickable.length > 0 && (
            <th scope="col" className={classes.tickColumn}>
              <Checkbox
                aria-label="Tick all rows of this page"
                checked={ticked === tickable.length}
                indeterminate={ticked > 0 && ticked < tickable.length}
                onChange={(event) => props.onTick(tickable, event.currentTarget.checked)}
              />
            </th>
          )}
          <th scope="col" className={classes.kindColumn}>
            Difference
          </th>
          <th scope="col" className={classes.rowColumn}>
            Row
          </th>
          <th scope="col" className={classes.nameColumn}>
            Column
          </th>
          <th scope="col">{props.sides.before}</th>
          <th scope="col">{props.sides.after}</th>
        </tr>
      </thead>
      {props.rows.map((row, index) => (
        <RowGroup
          key={identify(row, index)}
          row={row}
          canTick={tickable.length > 0}
          tickable={findTickable({ rows: [row], tables: props.tables })[0]}
          {...props}
        />
      ))}
    </table>
  )
}

/** The same where there is no room for a table. */
export function DifferenceCards(props: RowsProps) {
  return (
    <ul className={classes.cards} aria-label={props.caption}>
      {props.rows.map((row, index) => (
        <RowCard
          key={identify(row, index)}
          row={row}
          tickable={findTickable({ rows: [row], tables: props.tables })[0]}
          {...props}
        />
      ))}
    </ul>
  )
}

interface OneRowProps extends RowsProps {
  row: RowDifference
  tickable: Tickable | undefined
}

/** Of a row that only one side has, so many columns are shown at first. */
const FEW_COLUMNS = 3

function useShownColumns({ row, tables, tenantId, search }: OneRowProps) {
  const [isOpen, setOpen] = useState(false)
  const all = findShownColumns(row, tables.get(row.table), { tenantId, search })
  const isWhole = isOpen || row.kind === 'changed' || all.length <= FEW_COLUMNS + 1
  const columns = isWhole ? all : all.slice(0, FEW_COLUMNS)
  const more = all.length - columns.length
  const button =
    more === 0 ? null : (
      <UnstyledButton className={classes.more} onClick={() => setOpen(true)}>
        Show {formatPlural(more, 'more column')}
      </UnstyledButton>
    )
  return { columns, button }
}

function RowGroup({ canTick, ...props }: OneRowProps & { canTick: boolean }) {
  const { row, tickable, search } = props
  const { columns, button } = useShownColumns(props)
  const lines = Math.max(1, columns.length) + (button === null ? 0 : 1)
  const isTicked = tickable !== undefined && props.ticks.has(tickable.table, tickable.key)
  const [first, ...rest] = columns
  return (
    <tbody data-ticked={isTicked || undefined}>
      <tr>
        {canTick && (
          <td rowSpan={lines}>
            <Tick {...props} isTicked={isTicked} />
          </td>
        )}
        <td rowSpan={lines}>
          <KindBadge {...props} />
        </td>
        <th scope="row" rowSpan={lines} className={classes.rowName}>
          <RowName {...props} />
        </th>
        {first === undefined ? (
          <td colSpan={3} className={classes.absent}>
            nothing beside its key
          </td>
        ) : (
          <ColumnCells row={row} column={first} search={search} absentLines={lines} />
        )}
      </tr>
      {rest.map((column) => (
        <tr key={column.name}>
          <ColumnCells row={row} column={column} search={search} absentLines={null} />
        </tr>
      ))}
      {button !== null && (
        <tr>
          <td colSpan={2}>{button}</td>
        </tr>
      )}
    </tbody>
  )
}

/** Name, then, now. Where one side has no such row, its cell spans all lines and says so once. */
function ColumnCells({
  row,
  column,
  search,
  absentLines,
}: {
  row: RowDifference
  column: ColumnDifference
  search: string
  absentLines: number | null
}) {
  return (
    <>
      <td className={classes.columnName}>{column.name}</td>
      {row.kind === 'only_in_other' ? (
        absentLines !== null && (
          <td rowSpan={absentLines} className={classes.absent}>
            no such row
          </td>
        )
      ) : (
        <td>
          <Value column={column} side="before" search={search} />
        </td>
      )}
      {row.kind === 'only_in_backup' ? (
        absentLines !== null && (
          <td rowSpan={absentLines} className={classes.absent}>
            no such row
          </td>
        )
      ) : (
        <td>
          {row.kind === 'changed' && (
            <span className={classes.arrow} aria-hidden="true">
              →
            </span>
          )}
          <Value column={column} side="after" search={search} />
        </td>
      )}
    </>
  )
}

function RowCard(props: OneRowProps) {
  const { row, tickable, search } = props
  const { columns, button } = useShownColumns(props)
  const isTicked = tickable !== undefined && props.ticks.has(tickable.table, tickable.key)
  return (
    <li className={classes.card} data-ticked={isTicked || undefined}>
      <div className={classes.cardHead} data-untickable={tickable === undefined || undefined}>
        {tickable !== undefined && (
          <span className={classes.cardTick}>
            <Tick {...props} isTicked={isTicked} />
          </span>
        )}
        <div>
          <RowName {...props} />
        </div>
        <KindBadge {...props} />
      </div>
      {columns.length > 0 && (
        <dl className={classes.pairs}>
          {columns.map((column) => (
            <div key={column.name}>
              <dt>{column.name}</dt>
              {row.kind !== 'only_in_other' && (
                <dd>
                  <span className={classes.pairSide}>then</span>
                  <span>
                    <Value column={column} side="before" search={search} />
                  </span>
                </dd>
              )}
              {row.kind !== 'only_in_backup' && (
                <dd>
                  <span className={classes.pairSide}>
                    {props.direction === 'live' ? 'now' : 'other'}
                  </span>
                  <span>
                    <Value column={column} side="after" search={search} />
                  </span>
                </dd>
              )}
            </div>
          ))}
        </dl>
      )}
      {button !== null && <div>{button}</div>}
      {columns.length === 0 && <span className={classes.absent}>nothing beside its key</span>}
    </li>
  )
}

function Tick({ row, tickable, onTick, isTicked }: OneRowProps & { isTicked: boolean }) {
  if (tickable === undefined) return null
  return (
    <Checkbox
      aria-label={`Tick ${row.label ?? Object.values(tickable.key).join(' ')}`}
      checked={isTicked}
      onChange={(event) => onTick([tickable], event.currentTarget.checked)}
    />
  )
}

function KindBadge({ row, direction }: OneRowProps) {
  const { word, colour, icon } = describeKind(row.kind, direction)
  return (
    <Badge color={colour} leftSection={<Icon name={icon} size={13} />}>
      {word}
    </Badge>
  )
}

function RowName({ row, tables, isMixed, search }: OneRowProps) {
  const names = tables.get(row.table)?.keyColumns ?? []
  const key = row.key.map((value, index) => ({ name: names[index] ?? '', value }))
  return (
    <>
      {isMixed && <span className={classes.rowTable}>{nameTable(row.table)}</span>}
      {row.label !== null && (
        <span className={classes.rowLabel}>
          <Marked text={row.label} search={search} />
        </span>
      )}
      {key.map(({ name, value }) => (
        <span key={name} className={classes.rowKey}>
          {name} {value === null ? <Masked /> : <Marked text={value} search={search} />}
        </span>
      ))}
      {row.times > 1 && (
        <span className={classes.rowKey}>{formatPlural(row.times, 'equal row')}</span>
      )}
      {row.label === null && key.length === 0 && row.times === 1 && (
        <span className={classes.rowKey}>a row without a key</span>
      )}
    </>
  )
}

/** Longer texts are folded; one sees the whole of what was kept on a click. */
const LONG = 240

function Value({
  column,
  side,
  search,
}: {
  column: ColumnDifference
  side: 'before' | 'after'
  search: string
}) {
  const [isOpen, setOpen] = useState(false)
  const text = column[side]
  if (column.isMasked) return <Masked />
  if (text === null) return <span className={classes.absent}>nothing</span>
  if (text === '') return <span className={classes.absent}>an empty text</span>
  const instant = search === '' && !isSameMinute(column) ? readInstant(text) : null
  if (instant !== null) return <Instant value={instant} exact={text} />
  // What was found must be seen, however far back it stands.
  const isFolded = !isOpen && search === '' && text.length > LONG
  return (
    <span className={classes.value}>
      <Marked text={isFolded ? `${text.slice(0, LONG)}…` : text} search={search} />
      {isFolded && (
        <>
          {' '}
          <UnstyledButton className={classes.more} onClick={() => setOpen(true)}>
            Show all of it
          </UnstyledButton>
        </>
      )}
      {!isFolded && column.isCut && (
        <span className={classes.rowKey}>
          Longer than shown; a restore brings back the whole value.
        </span>
      )}
    </span>
  )
}

/** Within a minute two times would read alike, so these are shown as they are stored. */
function isSameMinute({ before, after }: ColumnDifference): boolean {
  const [one, other] = [readInstant(before ?? ''), readInstant(after ?? '')]
  if (one === null || other === null) return false
  return Math.abs(one.getTime() - other.getTime()) < 120_000
}

function Instant({ value, exact }: { value: Date; exact: string }) {
  const utc = useContext(UtcTimes)
  return (
    <time dateTime={value.toISOString()} title={exact} className={classes.exact}>
      {formatTime(value, { utc })}
    </time>
  )
}

function Masked() {
  return (
    <span className={classes.masked}>
      <span aria-hidden="true">•••••</span> masked
    </span>
  )
}

function Marked({ text, search }: { text: string; search: string }) {
  return findMatches(text, search).map((piece, index) =>
    piece.isMatch ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: pieces of one text have no other name
      <mark key={index} className={classes.match}>
        {piece.text}
      </mark>
    ) : (
      piece.text
    ),
  )
}

function identify(row: RowDifference, index: number): string {
  return row.key.length === 0 || row.key.includes(null)
    ? `${row.table} ${row.kind} ${index}`
    : `${row.table} ${row.key.join('\u0000')}`
}
