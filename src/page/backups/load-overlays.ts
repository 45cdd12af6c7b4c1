import { lazy, useEffect } from 'react'

/**
 * Menus and dialogs come as one file, fetched when the browser has nothing else to do: nobody needs them
 * in the first second. A click before that waits for it.
 */
const load = () => import('./overlays.tsx')

export const BackupMenu = lazy(() => load().then((module) => ({ default: module.BackupMenu })))
export const BackupDialog = lazy(() => load().then((module) => ({ default: module.BackupDialog })))
export const CreateBackupDialog = lazy(() =>
  load().then((module) => ({ default: module.CreateBackupDialog })),
)

/** Fetches menus and dialogs in a quiet moment. */
export function usePreloadedOverlays(): void {
  useEffect(() => {
    const fetchThem = () => void load().catch(() => {})
    if (typeof window.requestIdleCallback !== 'function') {
      const timer = setTimeout(fetchThem, 1_500)
      return () => clearTimeout(timer)
    }
    const handle = window.requestIdleCallback(fetchThem, { timeout: 5_000 })
    return () => window.cancelIdleCallback(handle)
  }, [])
}
