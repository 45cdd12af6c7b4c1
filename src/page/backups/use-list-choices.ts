import { useMemo } from 'react'
import { setSearchParams, useSearchParam } from '../frame/use-search-param.ts'
import type { Backup, BackupFilters, BackupOrder } from './read-backups.ts'

/** What the list shows and in which order, as it stands in the address. */
export interface ListChoices {
  search: string
  kind: Backup['type'] | null
  state: BackupFilters['state']
  /** Days of the reader (`2026-11-19`), both included. */
  days: { first: string; last: string } | null
  order: BackupOrder
  isAscending: boolean
}

const KINDS = ['daily_tenant', 'manual', 'pre_restore'] as const
const STATES = ['verified', 'proven', 'damaged', 'pinned', 'failed', 'pruned'] as const
const ORDERS = ['taken', 'rows', 'size'] as const

/**
 * The choices of the list of backups. They live in the address, so that they are still there when one
 * comes back from comparing, and the page begins anew with each change of them.
 */
export function useListChoices() {
  const [search] = useSearchParam('q')
  const [kind] = useSearchParam('kind')
  const [state] = useSearchParam('state')
  const [days] = useSearchParam('days')
  const [sort] = useSearchParam('sort')
  return useMemo(() => {
    const choices: ListChoices = {
      search: search ?? '',
      kind: toKind(kind),
      state: toState(state),
      days: readDays(days),
      order: oneOf(ORDERS, sort?.replace(/^-/, '') ?? null) ?? 'taken',
      isAscending: sort !== null && !sort.startsWith('-'),
    }
    return {
      choices,
      isFiltered:
        choices.search !== '' ||
        choices.kind !== null ||
        choices.state !== null ||
        choices.days !== null,
      choose,
      clear: () => choose({ search: '', kind: null, state: null, days: null }),
    }
  }, [search, kind, state, days, sort])
}

/** Changes some of the choices. The back button does not stop at each of them. */
function choose(changes: Partial<Omit<ListChoices, 'order' | 'isAscending'>> & Sorting): void {
  const params: Record<string, string | null> = { page: null }
  if (changes.search !== undefined) params.q = changes.search === '' ? null : changes.search
  if (changes.kind !== undefined) params.kind = changes.kind
  if (changes.state !== undefined) params.state = changes.state
  if (changes.days !== undefined) {
    params.days = changes.days === null ? null : `${changes.days.first}..${changes.days.last}`
  }
  if (changes.sorting !== undefined) {
    const { order, isAscending } = changes.sorting
    const isUsual = order === 'taken' && !isAscending
    params.sort = isUsual ? null : `${isAscending ? '' : '-'}${order}`
  }
  setSearchParams(params, 'replace')
}

interface Sorting {
  sorting?: { order: BackupOrder; isAscending: boolean }
}

/** The filters as a reader in this zone means them. */
export function toFilters({ search, kind, state, days }: ListChoices, utc: boolean): BackupFilters {
  return {
    search: search.trim(),
    kind,
    state,
    from: days === null ? null : startOfDay(days.first, utc, 0),
    before: days === null ? null : startOfDay(days.last, utc, 1),
  }
}

/** A kind as the address or a control names it; null for anything else. */
export function toKind(value: string | null): ListChoices['kind'] {
  return oneOf(KINDS, value)
}

/** A state as the address or a control names it; null for anything else. */
export function toState(value: string | null): ListChoices['state'] {
  return oneOf(STATES, value)
}

export function startOfDay(day: string, utc: boolean, plusDays: number): Date {
  const [year = 0, month = 1, date = 1] = day.split('-').map(Number)
  return utc
    ? new Date(Date.UTC(year, month - 1, date + plusDays))
    : new Date(year, month - 1, date + plusDays)
}

function readDays(text: string | null): ListChoices['days'] {
  const match = /^(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)$/.exec(text ?? '')
  const [, first, last] = match ?? []
  return first === undefined || last === undefined ? null : { first, last }
}

function oneOf<const Choice extends string>(
  choices: readonly Choice[],
  value: string | null,
): Choice | null {
  return choices.find((choice) => choice === value) ?? null
}
