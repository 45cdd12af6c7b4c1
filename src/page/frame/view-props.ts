import type { PageServices } from '../calls/call-function.ts'

/** What the frame hands to a view that has an address of its own: comparing, restoring, undoing. */
export interface ViewProps {
  services: PageServices
  /** The tenant that the page shows; its name is its id where it has none. */
  tenant: { id: string; name: string }
  isNarrow: boolean
  /** Tells screen readers. */
  announce: (text: string) => void
  /** Back to the list, all parameters of the view gone. */
  onClose: () => void
}
