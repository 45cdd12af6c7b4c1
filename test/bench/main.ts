import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { REPOSITORY } from '../../src/local/migrations.ts'
import { benchBackup } from './backup.ts'
import { type DataSet, openDataSet } from './data-set.ts'
import { describeMachine, type Figure, printFigures } from './figure.ts'
import { benchRestore } from './restore.ts'
import { benchRetention } from './retention.ts'
import { benchSchema, openScratchServer } from './schema.ts'
import { benchSeed } from './seed.ts'

const USAGE = `npm run bench -- backup|restore|schema|retention|seed [--json] [--quick] [--reset] [--folder PATH]

backup  measures on a Postgres of its own with 4,000,000 rows of the demonstration, made on first use and
        kept below .local/bench
schema  measures init, census and fingerprint of generated schemas, and what the policies add to reading
        a table, on a Postgres that is thrown away
retention
        measures planning what is pruned, lists and the monitor over catalogs of several sizes, on a Postgres
        that is thrown away
seed    measures 2,000 default rows of 24 tables into 1, 10 and 500 tenants, on one that is thrown away

Nothing there is synced to the disk: these are figures of speed, not of a disk.
  --quick   a twentieth of everything, to try out the benchmark; the aims are meant for the whole
  --reset   make the data set of backup and restore anew
  --json    one JSON document on stdout`

interface Options {
  folder: string
  quick: boolean
  reset: boolean
}

/** A benchmark whose server is up. */
interface Prepared {
  postgresVersion: string
  /** What it measures on, for the document. */
  dataSet: Record<string, unknown>
  measure(): Promise<Figure[]>
  stop(): Promise<void>
}

type Prepare = (options: Options, tell: (line: string) => void) => Promise<Prepared>

const BENCHMARKS = new Map<string, Prepare>([
  ['backup', (options, tell) => prepareOnDataSet(benchBackup, options, tell)],
  ['restore', (options, tell) => prepareOnDataSet(benchRestore, options, tell)],
  ['schema', (options, tell) => prepareScratch(benchSchema, options, tell)],
  ['retention', (options, tell) => prepareScratch(benchRetention, options, tell)],
  ['seed', (options, tell) => prepareScratch(benchSeed, options, tell)],
])

async function prepareOnDataSet(
  measure: (dataSet: DataSet, tell: (line: string) => void) => Promise<Figure[]>,
  { folder, quick, reset }: Options,
  tell: (line: string) => void,
): Promise<Prepared> {
  const dataSet = await openDataSet({ folder, isQuick: quick, reset, tell })
  return {
    postgresVersion: dataSet.postgresVersion,
    dataSet: { rows: dataSet.rows, tenants: dataSet.tenantCount, isDurable: false },
    measure: () => measure(dataSet, tell),
    stop: () => dataSet.stop(),
  }
}

async function prepareScratch(
  measure: typeof benchSchema,
  { quick }: Options,
  tell: (line: string) => void,
): Promise<Prepared> {
  const server = await openScratchServer()
  return {
    postgresVersion: server.postgresVersion,
    dataSet: { isDurable: false },
    measure: () => measure(server, { isQuick: quick, tell }),
    stop: () => server.stop(),
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      reset: { type: 'boolean', default: false },
      folder: { type: 'string', default: join(REPOSITORY, '.local', 'bench') },
      help: { type: 'boolean', default: false },
    },
  })
  const [name = ''] = positionals
  const prepare = BENCHMARKS.get(name)
  if (prepare === undefined || values.help) {
    console.error(USAGE)
    process.exitCode = values.help ? 0 : 2
    return
  }
  const tell = (line: string) => console.error(line)
  // Warnings of packages go to the console too, and stdout is for the document.
  if (values.json) console.log = console.error
  const prepared = await prepare(values, tell)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void prepared.stop().finally(() => process.exit(130)))
  }
  try {
    const machine = describeMachine(prepared.postgresVersion)
    tell(
      `${machine.cores} cores (${machine.processor}), ${machine.memoryGb} GB, ${machine.system}, Node ${machine.node}, Postgres ${machine.postgres}, load ${machine.loadBefore.toFixed(1)}`,
    )
    const startedAt = performance.now()
    const figures: Figure[] = await prepared.measure()
    const seconds = (performance.now() - startedAt) / 1000
    const document = {
      benchmark: name,
      isQuick: values.quick,
      machine,
      dataSet: prepared.dataSet,
      seconds,
      figures,
    }
    process.stdout.write(
      values.json ? `${JSON.stringify(document, null, 2)}\n` : `${printFigures(figures)}\n`,
    )
    tell(`${seconds.toFixed(0)} s`)
  } finally {
    await prepared.stop()
  }
}

await main()
