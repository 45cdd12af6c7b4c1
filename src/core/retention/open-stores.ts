import type { Services } from '../services.ts'
import { placesOf } from '../store/read-with-copy.ts'
import type { Store } from '../store/store.ts'

/** Every store that this process has open: where backups are made, and where they are copied to. */
export function openStores({ store }: Services): Store[] {
  return placesOf(store)
}
