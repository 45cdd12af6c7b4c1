/** What a restore has to go through: as the catalog counts it, bytes before compression. */
export interface RestoreSize {
  rows: number
  rawBytes: number
  /** Bytes as they lie in the store. */
  storedBytes: number
}

/**
 * Measured on the demonstration's large tenant (200,000 rows, 81 MB, Postgres on the same machine): staging
 * 2 s, writing 2 s, a backup 1 to 2 s. Rows weigh as much as bytes do where rows are short.
 */
const ROWS_PER_SECOND = 100_000
const BYTES_PER_SECOND = 40e6
/** What a bucket gives and takes, over the public network; measured nowhere, so low. */
const STORE_BYTES_PER_SECOND = 5e6
/** Opening, catalog queries, locks and proofs of a restore of nothing. */
const LEAST_SECONDS = 2
/** A hosted database is slower than the one that was measured, and does other things as well. */
const MARGIN = 2

/**
 * How long a restore may take, in whole seconds, if every row of `backup` differs: read, staged, written,
 * proven; of a real one also `live` for the safety backup. An upper bound rather than a guess: what is
 * equal costs a fraction of it.
 */
export function estimateRestore(
  { backup, live }: { backup: RestoreSize; live: RestoreSize },
  { isDryRun }: { isDryRun: boolean },
): number {
  const staging = passOver(backup)
  const comparing = passOver(live)
  const writing = passOver(backup)
  const transfer = backup.storedBytes / STORE_BYTES_PER_SECOND
  const safetyBackup = isDryRun ? 0 : passOver(live) + live.storedBytes / STORE_BYTES_PER_SECOND
  const seconds = staging + comparing + writing + transfer + safetyBackup
  return Math.ceil(LEAST_SECONDS + MARGIN * seconds)
}

/** Seconds for the database to go once over so many rows. */
function passOver({ rows, rawBytes }: RestoreSize): number {
  return Math.max(rows / ROWS_PER_SECOND, rawBytes / BYTES_PER_SECOND)
}
