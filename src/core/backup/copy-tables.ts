import type { Connection } from '../database/database.ts'
import type { BackupError } from '../errors.ts'
import { interruptible } from '../interruptible.ts'
import { partPath } from '../store/object-path.ts'
import type { Store } from '../store/store.ts'
import { writtenColumns } from '../tables/encode-rows.ts'
import type { ProtectedTable } from '../tables/protected-table.ts'
import type { BackupSettings } from './backup-settings.ts'
import { PartBuffers, type RawPart } from './cut-parts.ts'
import { cutTable, type TableProgress } from './cut-table.ts'
import type { Snapshot } from './read-snapshot.ts'
import { type Summary, type SummaryPart, type SummaryTable, sum } from './summary.ts'
import { type WrittenPart, writePart } from './write-part.ts'

/** Parts that are compressed, stored and read back at the same time, while the next one fills. */
const WRITERS = 3
/** A row larger than a part is a part of its own: beyond this, one at a time. */
const BYTES_UNDER_WAY = 32 * 1024 * 1024

export interface CopyOptions {
  store: Store
  tenantId: string
  stamp: string
  settings: BackupSettings
  /** The last complete backup, whose unchanged parts are named again instead of stored again. */
  previous: Summary | undefined
  /** Told of a part of that backup that is not what it was, with the table's label. */
  onDamaged?: (error: BackupError, table: string) => void
  onProgress: (progress: TableProgress) => void
  /** Awaited as soon as every row is read, while the last parts are still on their way into the store. */
  onRead?: () => Promise<unknown>
  signal: AbortSignal | undefined
}

/**
 * Copies every table of an open snapshot into the store and returns what the summary says about the
 * tables. When this returns, every part is stored and was read back. The transaction stays open unless
 * `onRead` ends it.
 */
export async function copyTables(
  connection: Connection,
  snapshot: Snapshot,
  options: CopyOptions,
): Promise<{ tables: SummaryTable[]; uploadedBytes: number }> {
  const writers = new PartWriters(options)
  const buffers = new PartBuffers()
  try {
    for (const table of snapshot.tables) {
      const parts = cutTable(connection, snapshot, table, {
        buffers,
        maxRowBytes: options.settings.max_row_bytes,
        onProgress: options.onProgress,
        signal: writers.signal,
      })
      for await (const part of parts) await writers.add(table, part)
    }
    await options.onRead?.()
    const written = await writers.finish()
    const tables = snapshot.tables.map((table) =>
      describeTable(table, snapshot, written.get(table.label) ?? []),
    )
    const uploaded = [...written.values()].flat().filter((part) => part.isUploaded)
    return { tables, uploadedBytes: sum(uploaded, 'stored_bytes') }
  } catch (error) {
    throw await writers.stop(error)
  }
}

/** A few parts at a time on their way into the store. The first failure stops them all. */
class PartWriters {
  readonly #options: CopyOptions
  readonly #earlier: ReadonlyMap<string, ReadonlyMap<string, SummaryPart>>
  readonly #stop = new AbortController()
  readonly #running = new Set<Promise<void>>()
  readonly #parts = new Map<string, (WrittenPart | undefined)[]>()
  #bytesUnderWay = 0
  #failure: { error: unknown } | undefined
  /** Fires when the backup is interrupted or a part failed. */
  readonly signal: AbortSignal

  constructor(options: CopyOptions) {
    this.#options = options
    const { signal, previous } = options
    this.signal =
      signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal])
    this.#earlier = new Map(
      previous?.tables.map((table) => [
        table.name,
        new Map(table.parts.map((part) => [part.raw_sha256, part])),
      ]),
    )
  }

  /** Waits until a writer is free, then hands it the part. */
  async add(table: ProtectedTable, part: RawPart): Promise<void> {
    const bytes = part.bytes.length
    const isFull = () =>
      this.#running.size >= WRITERS ||
      (this.#running.size > 0 && this.#bytesUnderWay + bytes > BYTES_UNDER_WAY)
    while (isFull()) {
      await interruptible(Promise.race(this.#running), this.signal)
    }
    if (this.#failure !== undefined) throw this.#failure.error
    const parts = this.#parts.get(table.label) ?? []
    this.#parts.set(table.label, parts)
    const index = parts.push(undefined) - 1
    const { store, tenantId, stamp, settings } = this.#options
    const work = writePart(store, {
      path: partPath(tenantId, stamp, table, index + 1),
      part,
      gzipLevel: settings.gzip_level,
      earlier: this.#earlier.get(table.label) ?? new Map(),
      onDamaged: (error) => this.#options.onDamaged?.(error, table.label),
      signal: this.signal,
    })
      .then((written) => {
        parts[index] = written
      })
      .catch((error: unknown) => {
        this.#failure ??= { error }
        this.#stop.abort()
      })
      .finally(() => {
        this.#running.delete(work)
        this.#bytesUnderWay -= bytes
      })
    this.#running.add(work)
    this.#bytesUnderWay += bytes
  }

  /** All parts by table, in order. */
  async finish(): Promise<Map<string, WrittenPart[]>> {
    await Promise.all(this.#running)
    if (this.#failure !== undefined) throw this.#failure.error
    return new Map(
      [...this.#parts].map(([label, parts]) => [label, parts.filter((part) => part !== undefined)]),
    )
  }

  /** Lets nothing run on; returns the error that came first. */
  async stop(error: unknown): Promise<unknown> {
    const first = this.#failure?.error ?? error
    this.#stop.abort()
    await Promise.all(this.#running)
    return first
  }
}

function describeTable(
  table: ProtectedTable,
  snapshot: Snapshot,
  written: readonly WrittenPart[],
): SummaryTable {
  const parts = written.map(({ isUploaded: _, ...part }) => part)
  return {
    name: table.label,
    schema: table.schema,
    table: table.name,
    columns: writtenColumns(table).map(({ name, type, encoding }) => ({ name, type, encoding })),
    fingerprint: snapshot.columnFingerprints.get(table.label) ?? '-',
    primary_key: table.primaryKey.map((key) => key.name),
    rows: sum(parts, 'rows'),
    raw_bytes: sum(parts, 'raw_bytes'),
    stored_bytes: sum(parts, 'stored_bytes'),
    parts,
  }
}
