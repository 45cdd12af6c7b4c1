import type { PageServices } from '../calls/call-function.ts'

/** What the frame hands to every part of the tab. */
export interface PanelProps {
  services: PageServices
  isNarrow: boolean
  /** Tells screen readers. */
  announce: (text: string) => void
}
