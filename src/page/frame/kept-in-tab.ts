import { useCallback, useRef, useState } from 'react'
import type * as z from 'zod/mini'

/** What lies in the tab's session storage, so that a reload and the way back keep it; null where nothing does. */
export function readKept<T extends z.ZodMiniType>(place: string, schema: T): z.infer<T> | null {
  try {
    const kept = schema.safeParse(JSON.parse(sessionStorage.getItem(place) ?? 'null'))
    return kept.success ? kept.data : null
  } catch {
    return null
  }
}

/** Keeps it; null forgets it. A browser that keeps nothing forgets on a reload, and that is all. */
export function keep(place: string, value: object | null): void {
  try {
    if (value === null) sessionStorage.removeItem(place)
    else sessionStorage.setItem(place, JSON.stringify(value))
  } catch {
    // A browser that keeps nothing.
  }
}

/** A state that is kept there; `first` where nothing is. Null forgets it and begins anew. */
export function useKept<T extends z.ZodMiniType>(
  place: string,
  schema: T,
  first: z.infer<T> & object,
): [z.infer<T>, (change: Partial<z.infer<T>> | null) => void] {
  const [value, setValue] = useState<z.infer<T>>(() => readKept(place, schema) ?? first)
  const latest = useRef(value)
  const begin = useRef(first)
  const change = useCallback(
    (changes: Partial<z.infer<T>> | null) => {
      const next = changes === null ? begin.current : Object.assign({}, latest.current, changes)
      latest.current = next
      keep(place, changes === null ? null : Object(next))
      setValue(next)
    },
    [place],
  )
  return [value, change]
}
