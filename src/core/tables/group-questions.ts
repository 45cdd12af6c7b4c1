/**
 * Makes a few grouped questions of what discovery could not settle. Tables with the same doubt are one
 * question, with its evidence, what we would answer, and the flag that says so.
 */
import type { Doubt } from './discover-ownership.ts'
import { type HostTable, tableName } from './host-table.ts'
import type { Measurement } from './measure-rows.ts'
import { type ClassifiedTable, edgesOf } from './ownership.ts'
import { type Answer, type TableAnswer, toEdgeAnswer } from './read-answers.ts'

type QuestionKind =
  | 'subtenants'
  | 'enable_rls'
  | 'sleeping_policies'
  | 'binding_policies'
  | 'foreign_owner'
  | 'likely_edges'
  | 'nullable_keys'
  | 'no_tenant'
  | 'two_tenants'
  | 'lookups'
  | 'unused'
  | 'others'

interface QuestionOption {
  /** What `--answer <question>=<key>` takes. */
  key: string
  label: string
  answer: Answer
  flags: string[]
}

export interface Question {
  /** The same in every run, so that flags and scripts can name it. */
  id: string
  kind: QuestionKind
  /** As `schema.table`. */
  tables: string[]
  text: string
  evidence: string[]
  /** What we would answer; null where only a person can know. */
  default: Answer | null
  /** Empty where no answer settles it, but a change of the host. */
  options: QuestionOption[]
}

/** A table that no path leads from. */
export interface OpenTable {
  table: HostTable
  rows: number
  /** Rows of tenants refer to it. */
  isReferredTo: boolean
  /** By its name a log, a queue, or something left behind. */
  isLogLike: boolean
  /** The open table whose answer it follows. */
  follows: string | null
}

export interface DoubtfulTable {
  entry: ClassifiedTable
  /** Null where the path is firm, and only its rows disagree. */
  doubt: Doubt | null
  measured: Measurement
  path: string
  sentences: readonly string[]
}

export interface Doubts {
  /** The tenant table's own column that names the tenant above, while nobody said what that means. */
  parentColumn: string | null
  rootTable: string
  doubtful: readonly DoubtfulTable[]
  open: readonly OpenTable[]
  obstacles: readonly Obstacle[]
}

/** What keeps us from protecting a table whose class is settled. */
export interface Obstacle {
  kind: 'enable_rls' | 'sleeping_policies' | 'binding_policies' | 'foreign_owner'
  table: HostTable
  reason: string
}

const NAMES_SHOWN = 12

/** The questions, at most one of each kind. Pure. */
export function groupQuestions(doubts: Doubts): Question[] {
  return [
    askSubtenants(doubts),
    ...askObstacles(doubts.obstacles),
    ...askDoubtful(doubts.doubtful),
    ...askOpen(doubts.open),
  ].filter((question) => question !== null)
}

function askSubtenants({ parentColumn, rootTable }: Doubts): Question | null {
  if (parentColumn === null) return null
  const option = (key: 'separate' | 'included', label: string): QuestionOption => ({
    key,
    label,
    answer: { subtenants: key },
    flags: [`--subtenants ${key}`],
  })
  return question('subtenants', [rootTable], {
    text: `${rootTable} refers to itself by ${parentColumn}. Is a tenant below another one a tenant of its own, or a part of it?`,
    evidence: [],
    options: [
      option('separate', 'A tenant of its own, with backups of its own'),
      option('included', 'A part of the tenant above it, whose backup holds its rows'),
    ],
    byDefault: 'separate',
  })
}

function askObstacles(obstacles: readonly Obstacle[]): (Question | null)[] {
  const of = (kind: Obstacle['kind']) => obstacles.filter((obstacle) => obstacle.kind === kind)
  const named = (found: readonly Obstacle[]) => found.map(({ table }) => tableName(table))
  const reasons = (found: readonly Obstacle[]) =>
    found.map(({ table, reason }) => `${tableName(table)}: ${reason}`)
  const closed = of('enable_rls')
  const sleeping = of('sleeping_policies')
  const binding = of('binding_policies')
  const foreign = of('foreign_owner')
  return [
    question('enable_rls', named(closed), {
      text: `Row level security is off on ${countTables(closed.length)}, so nothing would confine us to one tenant there. Switch it on?`,
      evidence: [
        'A policy keeps everybody else’s view as it is; only «copy … from» by others than the owner stops working.',
      ],
      options: [
        {
          key: 'yes',
          label: 'Switch it on, with a policy that keeps everybody else’s view',
          answer: { enable_rls: true },
          flags: ['--enable-rls'],
        },
        {
          key: 'exclude',
          label: 'Leave these tables out of every backup',
          answer: { tables: excludeAll(named(closed), 'row level security is off') },
          flags: ['--answer enable_rls=exclude'],
        },
      ],
      byDefault: null,
    }),
    question('sleeping_policies', named(sleeping), {
      text: 'Row level security is off, and switching it on would wake restrictive policies. Drop these, or switch it on yourself.',
      evidence: reasons(sleeping),
      options: [],
      byDefault: null,
    }),
    question('binding_policies', named(binding), {
      text: `Restrictive policies of the host bind everybody on ${countTables(binding.length)}, us too: rows that they hide would fail every backup. Write them to the roles that they are meant for, then run init again.`,
      evidence: reasons(binding),
      options: [],
      byDefault: null,
    }),
    question('foreign_owner', named(foreign), {
      text: `${tablesDo(foreign.length, 'belongs to another role', 'belong to another role')}, and only its members can put policies there. Run init as such a role, or leave them out.`,
      evidence: reasons(foreign),
      options: [
        {
          key: 'exclude',
          label: 'Leave these tables out of every backup',
          answer: { tables: excludeAll(named(foreign), 'belongs to another role') },
          flags: ['--answer foreign_owner=exclude'],
        },
      ],
      byDefault: null,
    }),
  ]
}

function askDoubtful(doubtful: readonly DoubtfulTable[]): (Question | null)[] {
  const isUnreached = ({ measured }: DoubtfulTable) =>
    measured.rows > 0 && measured.rowsWithoutTenant === measured.rows
  const unreached = doubtful.filter((found) => isUnreached(found) && found.doubt !== 'likely_edge')
  const rest = doubtful.filter((found) => !unreached.includes(found))
  const likely = rest.filter((found) => found.doubt === 'likely_edge')
  const nullable = rest.filter((found) => found.doubt === 'nullable_keys')
  const torn = rest.filter(
    (found) => found.doubt === null && (found.measured.rowsOfTwoTenants ?? 0) > 0,
  )
  return [
    question('likely_edges', names(likely), {
      text: `${tablesDo(likely.length, 'has no foreign key', 'have no foreign key')} to an owner, but columns whose names and values point to one. Follow them?`,
      evidence: likely.flatMap((found) => [describeFound(found), ...found.sentences]),
      options: [
        followOption('likely_edges', likely),
        ...awayOptions('likely_edges', names(likely)),
      ],
      byDefault: 'follow',
    }),
    question('nullable_keys', names(nullable), {
      text: `${tablesDo(nullable.length, 'hangs on rows', 'hang on rows')} of tenants only by keys that may be null. Rows in which they are null would be nobody’s. Follow these keys?`,
      evidence: nullable.map(describeFound),
      options: [
        followOption('nullable_keys', nullable),
        ...awayOptions('nullable_keys', names(nullable)),
      ],
      byDefault: 'follow',
    }),
    question('no_tenant', names(unreached), {
      text: `No row of ${countTables(unreached.length)} leads to a tenant, although there are columns that could. Are these everybody’s?`,
      evidence: unreached.map(describeFound),
      options: [
        ...awayOptions('no_tenant', names(unreached)),
        followOption('no_tenant', unreached),
      ],
      byDefault: unreached.every((found) => found.doubt !== null) ? 'shared' : null,
    }),
    question('two_tenants', names(torn), {
      text: `Rows of ${countTables(torn.length)} lead to two tenants, by one path to one and by another to another. Is the path shown the one that says whose they are?`,
      evidence: torn.map(
        (found) =>
          `${describeFound(found)} Another tenant’s by ${found.measured.disagreeing.join(', ')}: ${found.measured.rowsOfTwoTenants}.`,
      ),
      options: [followOption('two_tenants', torn), ...awayOptions('two_tenants', names(torn))],
      byDefault: 'follow',
    }),
  ]
}

function askOpen(open: readonly OpenTable[]): (Question | null)[] {
  const leading = open.filter((found) => found.follows === null)
  const lookups = leading.filter((found) => found.isReferredTo)
  const unused = leading.filter(
    (found) => !found.isReferredTo && (found.rows === 0 || found.isLogLike),
  )
  const others = leading.filter((found) => !lookups.includes(found) && !unused.includes(found))
  const describe = ({ table, rows }: OpenTable) => {
    const following = open.filter((found) => found.follows === tableName(table)).length
    return `${tableName(table)}: ${rows} rows${following === 0 ? '' : `; ${tablesDo(following, 'hangs on it and follows', 'hang on it and follow')}`}.`
  }
  const of = (found: readonly OpenTable[]) => found.map(({ table }) => tableName(table))
  return [
    question('lookups', of(lookups), {
      text: `Rows of tenants refer to ${countTables(lookups.length)} that ${lookups.length === 1 ? 'leads' : 'lead'} to no tenant. Are they everybody’s?`,
      evidence: lookups.map(describe),
      options: awayOptions('lookups', of(lookups)),
      byDefault: 'shared',
    }),
    question('unused', of(unused), {
      text: `${tablesDo(unused.length, 'is empty or looks like a log', 'are empty or look like logs')}, and no row of a tenant refers to them. Leave them out?`,
      evidence: unused.map(describe),
      options: awayOptions('unused', of(unused)).reverse(),
      byDefault: 'exclude',
    }),
    question('others', of(others), {
      text: `Nothing says whose the rows of ${countTables(others.length)} are. Are they everybody’s?`,
      evidence: others.map(describe),
      options: awayOptions('others', of(others)),
      byDefault: null,
    }),
  ]
}

function question(
  kind: QuestionKind,
  tables: string[],
  more: { text: string; evidence: string[]; options: QuestionOption[]; byDefault: string | null },
): Question | null {
  if (tables.length === 0) return null
  const { text, evidence, options, byDefault } = more
  return {
    id: kind,
    kind,
    tables,
    text: tables.length > NAMES_SHOWN ? text : `${text} (${tables.join(', ')})`,
    evidence,
    default: options.find((option) => option.key === byDefault)?.answer ?? null,
    options,
  }
}

function followOption(kind: QuestionKind, found: readonly DoubtfulTable[]): QuestionOption {
  return {
    key: 'follow',
    label: 'Yes, they belong to tenants by the paths shown',
    answer: {
      tables: Object.fromEntries(
        found.map(({ entry }) => [tableName(entry.table), answerOf(entry)]),
      ),
    },
    flags: [`--answer ${kind}=follow`],
  }
}

function awayOptions(kind: QuestionKind, tables: readonly string[]): QuestionOption[] {
  return [
    {
      key: 'shared',
      label: 'They are everybody’s: readable, never written, in no backup',
      answer: { tables: Object.fromEntries(tables.map((name) => [name, { class: 'shared' }])) },
      flags: [`--answer ${kind}=shared`],
    },
    {
      key: 'exclude',
      label: 'Leave them out of every backup',
      answer: { tables: excludeAll(tables, 'not part of a tenant’s data') },
      flags: [`--answer ${kind}=exclude`],
    },
  ]
}

function excludeAll(tables: readonly string[], reason: string): Record<string, TableAnswer> {
  return Object.fromEntries(tables.map((name) => [name, { class: 'excluded', reason } as const]))
}

/** The classification as a person would have given it. */
function answerOf({ classification }: ClassifiedTable): TableAnswer {
  const edges = edgesOf(classification).map(toEdgeAnswer)
  switch (classification.class) {
    case 'direct':
      return {
        class: 'direct',
        column: classification.tenantColumn,
        ...(edges.length === 0 ? {} : { otherwise: edges }),
      }
    case 'child':
      return { class: 'child', edges }
    case 'custom':
      return { class: 'custom', predicate: classification.predicate }
    case 'excluded':
      return { class: 'excluded', reason: classification.reason }
    case 'shared':
    case 'root':
      return { class: 'shared' }
  }
}

function describeFound({ entry, measured, path }: DoubtfulTable): string {
  const lost = measured.rowsWithoutTenant
  const rows = `${measured.isEstimate ? 'about ' : ''}${measured.rows} rows${lost === null ? '' : `, ${lost} of no tenant`}`
  return `${tableName(entry.table)}: ${path}; ${rows}.`
}

function names(found: readonly DoubtfulTable[]): string[] {
  return found.map(({ entry }) => tableName(entry.table))
}

function countTables(count: number): string {
  return count === 1 ? '1 table' : `${count} tables`
}

/** The count as the subject of a sentence: «1 table is …», «3 tables are …». */
function tablesDo(count: number, one: string, many: string): string {
  return `${countTables(count)} ${count === 1 ? one : many}`
}
