import type { Dirent } from 'node:fs'
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import * as z from 'zod'
import type { BackupWarning } from '../backup/backup-record.ts'
import { BackupError } from '../errors.ts'
import { throwIfInterrupted } from '../interruptible.ts'

/** One call of the tool: files of one folder with one timestamp. */
export interface PlainRun {
  date: string
  stamp: string
  folder: string
  /** Files by the name of their table. */
  files: Map<string, string>
  summary: LooseSummary | null
  pathOf: (file: string) => string
}

/** What a summary says, as far as it can be understood. */
interface LooseSummary {
  organizationId: string | null
  organizationName: string | null
  takenAt: string | null
  /** By name; rows is null where it does not say. */
  tables: Map<string, { isWritten: boolean; rows: number | null }>
}

const MAX_SUMMARY_BYTES = 64 * 1024 * 1024
/** Folders may hold anything; nobody's backups lie deeper. */
const MAX_FOLDER_DEPTH = 8
/** Timestamps as tools write them: ISO with whatever in place of its colons, or milliseconds. */
const STAMPED =
  /^(?<table>.+)-(?<stamp>\d{4}-\d{2}-\d{2}T[\d.:_-]+Z?|\d{8}T?\d{6,9}Z?(?:-[0-9a-f]{8})?|\d{10,13})$/

/**
 * The newest complete run of a tenant below a folder, with what must be said of the choice. Throws
 * `archive_unreadable` where there is none.
 */
export async function findPlainRun(input: {
  folder: string
  tenantId: string
  date?: string | undefined
  signal?: AbortSignal | undefined
}): Promise<{ run: PlainRun; warnings: BackupWarning[] }> {
  const { run, passedOver } = chooseRun(await findRuns(input), input.tenantId)
  return { run, warnings: [...passedOver, ...describeRun(run)] }
}

async function findRuns({
  folder,
  tenantId,
  date,
  signal,
}: Parameters<typeof findPlainRun>[0]): Promise<PlainRun[]> {
  const found = await findDayFolders(folder, signal)
  if (found.length === 0) {
    refuse(
      `${folder} holds no backup: the files must lie in a folder of the day (2026-11-21) in a folder named by the tenant's id.`,
    )
  }
  const own = found.filter((day) => basename(dirname(day)) === tenantId)
  if (own.length === 0) refuse(`${folder} holds backups, but none of this tenant.`)
  const days = own.filter((day) => date === undefined || basename(day) === date)
  if (days.length === 0) refuse(`${folder} holds backups of this tenant, but none of ${date}.`)
  const runs: PlainRun[] = []
  for (const day of days) runs.push(...(await readDay(day)))
  if (runs.length === 0) refuse(`${folder} holds no file named {table}-{timestamp}.json.`)
  return runs
}

const DAY = /^\d{4}-\d{2}-\d{2}$/

async function findDayFolders(folder: string, signal: AbortSignal | undefined): Promise<string[]> {
  let level: string[]
  try {
    level = [await realpath(folder)]
  } catch (cause) {
    throw unreadable(folder, 'cannot be opened', cause)
  }
  const days: string[] = []
  for (let depth = 0; depth <= MAX_FOLDER_DEPTH && level.length > 0; depth++) {
    throwIfInterrupted(signal)
    const below: string[] = []
    for (const path of level) {
      if (DAY.test(basename(path))) days.push(path)
      else below.push(...(await list(path)).filter(isFolder).map(({ name }) => join(path, name)))
    }
    level = below
  }
  return days
}

const isFolder = (entry: Dirent) => entry.isDirectory()

async function list(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true })
  } catch (cause) {
    throw unreadable(folder, 'cannot be read', cause)
  }
}

/** The runs of a day, told apart by their timestamps; two are never mixed. */
async function readDay(folder: string): Promise<PlainRun[]> {
  const files = (await list(folder)).filter((entry) => entry.isFile() && /\.json$/.test(entry.name))
  const names = files.map((entry) => entry.name.replace(/\.json$/, ''))
  const stamps = names.flatMap((name) => /^summary-(.+)$/.exec(name)?.[1] ?? [])
  // A summary says what its run's timestamp is, whatever the tool wrote there.
  stamps.sort((a, b) => b.length - a.length)
  const date = basename(folder)
  const pathOf = (file: string) => `${basename(dirname(folder))}/${date}/${basename(file)}`
  const runs = new Map<string, PlainRun>()
  const runOf = (stamp: string) => {
    const run = runs.get(stamp) ?? { date, stamp, folder, files: new Map(), summary: null, pathOf }
    runs.set(stamp, run)
    return run
  }
  for (const name of names) {
    const known = stamps.find((stamp) => name.endsWith(`-${stamp}`))
    const matched = STAMPED.exec(name)?.groups
    const stamp = known ?? matched?.stamp
    const table = known === undefined ? matched?.table : name.slice(0, -known.length - 1)
    if (stamp === undefined || table === undefined || table === '') continue
    const file = join(folder, `${name}.json`)
    if (table === 'summary') runOf(stamp).summary = await readSummary(file)
    else runOf(stamp).files.set(table, file)
  }
  return [...runs.values()]
}

const rowCount = z.int().nonnegative()
const LooseTable = z
  .looseObject({
    success: z.boolean().catch(true),
    record_count: rowCount.nullable().catch(null),
    rows: rowCount.nullable().catch(null),
    count: rowCount.nullable().catch(null),
  })
  .transform(({ success, record_count, rows, count }) => ({
    isWritten: success,
    rows: record_count ?? rows ?? count,
  }))
  // A bare number is a count; whatever else stands there only names the table.
  .catch(({ value }) => ({ isWritten: true, rows: rowCount.safeParse(value).data ?? null }))
const text = z.string().min(1).nullable().catch(null)
const LooseDocument = z.looseObject({
  organization_id: z
    .union([z.string().min(1), z.number().transform(String)])
    .nullable()
    .catch(null),
  organization_name: text,
  backup_timestamp: text,
  timestamp: text,
  tables: z.record(z.string(), LooseTable).catch({}),
})

/** Null where it can't be understood: the run counts as one without a summary. */
async function readSummary(file: string): Promise<LooseSummary | null> {
  try {
    if ((await stat(file)).size > MAX_SUMMARY_BYTES) return null
    const document = LooseDocument.parse(JSON.parse(await readFile(file, 'utf8')))
    return {
      organizationId: document.organization_id,
      organizationName: document.organization_name,
      takenAt: document.backup_timestamp ?? document.timestamp,
      tables: new Map(Object.entries(document.tables)),
    }
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) return null
    throw unreadable(file, 'cannot be read', error)
  }
}

/**
 * The newest run that is complete. A run without a summary counts only where no run has one: the tool
 * wrote it last, so it most likely broke off.
 */
function chooseRun(
  runs: PlainRun[],
  tenantId: string,
): { run: PlainRun; passedOver: BackupWarning[] } {
  const newestFirst = [...runs].sort((a, b) => (timeOf(a) < timeOf(b) ? 1 : -1))
  const faults = newestFirst.map((run) => findFault(run, tenantId))
  const isWhole = (run: PlainRun, at: number) => faults[at] === null && run.summary !== null
  let chosen = newestFirst.findIndex(isWhole)
  if (chosen === -1 && runs.every((run) => run.summary === null)) {
    chosen = newestFirst.findIndex((run) => run.files.size > 0)
  }
  const run = newestFirst[chosen]
  if (run === undefined)
    refuse(faults.find((fault) => fault !== null) ?? 'There are no table files.')
  if (runs.length === 1) return { run, passedOver: [] }
  const newer = newestFirst
    .slice(0, chosen)
    .map((other, at) => `${other.date}, ${other.stamp}: ${faults[at] ?? 'it has no summary'}`)
  const message = `There are ${runs.length} backups in this folder; the one of ${run.date}, ${run.stamp}, is read.`
  const isOlder = newer.length > 0
  return {
    run,
    passedOver: [
      isOlder
        ? {
            code: 'newer_incomplete',
            message: `${message} Newer, but incomplete: ${newer.join('; ')}`,
          }
        : {
            code: 'chosen_newest',
            message: `${message} It is the newest; say the date for another.`,
          },
    ],
  }
}

/** Why a run with a summary can't be taken; null where it can. */
function findFault({ summary, files, stamp }: PlainRun, tenantId: string): string | null {
  if (summary === null) return null
  const { organizationId, tables } = summary
  if (organizationId !== null && organizationId !== tenantId) {
    return `summary-${stamp}.json is of another tenant than its folder.`
  }
  const missing = [...tables]
    .filter(([name, table]) => table.isWritten && !files.has(name))
    .map(([name]) => name)
  if (missing.length > 0) {
    return `Files that summary-${stamp}.json names are not there: ${missing.join(', ')}.`
  }
  return files.size === 0 ? `There is no table file beside summary-${stamp}.json.` : null
}

/** What the chosen run itself lets one doubt. */
function describeRun({ summary, files, stamp }: PlainRun): BackupWarning[] {
  if (summary === null) {
    return [
      {
        code: 'no_summary',
        message: `There is no readable summary-${stamp}.json: nobody can say whether a table is missing, or how many rows each should have.`,
      },
    ]
  }
  const warnings: BackupWarning[] = []
  const failed = [...summary.tables].filter(([name, it]) => !it.isWritten && !files.has(name))
  if (failed.length > 0) {
    warnings.push({
      code: 'table_failed',
      message: `NOT in this backup, because reading them failed then: ${failed.map(([name]) => name).join(', ')}.`,
    })
  }
  const unnamed = [...files.keys()].filter((name) => !summary.tables.has(name))
  if (unnamed.length > 0) {
    warnings.push({
      code: 'not_in_summary',
      message: `The summary does not name these tables, so their numbers of rows could not be checked: ${unnamed.join(', ')}.`,
    })
  }
  return warnings
}

/** When a run was: as its summary says, else its timestamp, else its day; UTC with microseconds. */
export function timeOf({ summary, stamp, date }: PlainRun): string {
  const times = [inUtc(summary?.takenAt ?? ''), readStamp(stamp), `${date}T00:00:00Z`]
  const time = times.map((it) => new Date(it)).find((it) => !Number.isNaN(it.getTime()))
  return (time ?? new Date(0)).toISOString().replace('Z', '000Z')
}

/** Without a zone JavaScript would take it for the time of this machine. */
function inUtc(time: string): string {
  if (!/^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}/.test(time)) return ''
  return /(Z|[+-]\d{2}(:?\d{2})?)$/.test(time) ? time : `${time}Z`
}

/** A timestamp as ISO: `2025-01-15T02-00-00-000Z`, `20250115T020000000Z`, milliseconds or seconds. */
function readStamp(stamp: string): string {
  if (/^\d{10}$/.test(stamp)) return new Date(Number(stamp) * 1_000).toISOString()
  if (/^\d{13}$/.test(stamp)) return new Date(Number(stamp)).toISOString()
  const digits = stamp.replace(/Z.*$/, '').replace(/\D/g, '')
  const [, year, month, day, hour, minute, second, fraction = ''] =
    /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d*)$/.exec(digits) ?? []
  if (year === undefined) return ''
  const milliseconds = fraction.slice(0, 3).padEnd(3, '0')
  return `${year}-${month}-${day}T${hour}:${minute}:${second}.${milliseconds}Z`
}

function unreadable(path: string, what: string, cause: unknown): BackupError {
  return new BackupError('archive_unreadable', `${path} ${what}.`, { cause })
}

function refuse(message: string): never {
  throw new BackupError('archive_unreadable', message)
}
