import { useCallback, useRef, useState } from 'react'
import { type Draft, keepDraft, readDraft } from './restore-choices.ts'

/** What was chosen so far, kept in the tab; `first` where nothing was. */
export function useDraft(place: string, first: Draft): [Draft, (change: Partial<Draft>) => void] {
  const [draft, setDraft] = useState<Draft>(() => readDraft(place) ?? first)
  const latest = useRef(draft)
  const change = useCallback(
    (changes: Partial<Draft>) => {
      latest.current = { ...latest.current, ...changes }
      keepDraft(place, latest.current)
      setDraft(latest.current)
    },
    [place],
  )
  return [draft, change]
}
