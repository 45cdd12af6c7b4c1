import type { Database } from '../database/database.ts'
import { countDueCopies } from '../store/copy-backups.ts'
import { placesOf } from '../store/read-with-copy.ts'
import { S3Store } from '../store/s3-store.ts'
import type { Store } from '../store/store.ts'
import { SupabaseStore } from '../store/supabase-store.ts'
import { type Finding, finding } from './finding.ts'

/** A copy is made every night; one that is older than this should be there. */
const LATE_HOURS = 26

/** Whether the second place is a second one, and has what it should have; nothing where none is set up. */
export async function checkCopies(database: Database, store: Store): Promise<Finding[]> {
  const [first, copy] = placesOf(store)
  if (copy === undefined) return []
  const found: Finding[] = []
  const home = homeOf(first)
  if (home !== null && home === homeOf(copy)) {
    found.push(
      finding('copy_at_same_service', {
        subject: copy.url,
        message: `Backups and their copies are kept with the same account or project: what takes one away takes both.`,
        remedy: 'set BACKUP_COPY_STORE to a bucket at another service or of another project',
      }),
    )
  }
  const late = await countDueCopies({ catalog: database, store }, { olderThanHours: LATE_HOURS })
  if (late > 0) {
    found.push(
      finding('copies_missing', {
        subject: copy.url,
        message: `${late} copies of backups are missing that were complete more than ${LATE_HOURS} hours ago.`,
        remedy: 'call copy-backups; its run says what fails',
      }),
    )
  }
  return found
}

/** What two places would be lost with; null where nobody can tell. */
function homeOf(place: Store): string | null {
  return place instanceof SupabaseStore || place instanceof S3Store ? place.home : null
}
