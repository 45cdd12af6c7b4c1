import { useCallback, useSyncExternalStore } from 'react'

const CHANGED = 'tenantkeep:navigated'

/**
 * A part of the page's state that lives in the address, so that a reload, the back button and a second
 * tab see the same. `push` makes a step that the back button undoes.
 */
export function useSearchParam(
  name: string,
): [string | null, (value: string | null, how?: 'push' | 'replace') => void] {
  const value = useSyncExternalStore(subscribe, () =>
    new URLSearchParams(window.location.search).get(name),
  )
  const set = useCallback(
    (next: string | null, how: 'push' | 'replace' = 'push') =>
      setSearchParams({ [name]: next }, how),
    [name],
  )
  return [value, set]
}

/** Sets several parts of the address at once, as one step; null removes one, others stay. */
export function setSearchParams(
  changes: Record<string, string | null>,
  how: 'push' | 'replace' = 'push',
): void {
  const url = new URL(window.location.href)
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) url.searchParams.delete(name)
    else url.searchParams.set(name, value)
  }
  if (url.href === window.location.href) return
  if (how === 'push') window.history.pushState(null, '', url)
  else window.history.replaceState(null, '', url)
  window.dispatchEvent(new Event(CHANGED))
}

function subscribe(onChange: () => void): () => void {
  window.addEventListener('popstate', onChange)
  window.addEventListener(CHANGED, onChange)
  return () => {
    window.removeEventListener('popstate', onChange)
    window.removeEventListener(CHANGED, onChange)
  }
}
