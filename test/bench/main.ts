import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { REPOSITORY } from '../../src/local/migrations.ts'
import { benchBackup } from './backup.ts'
import { openDataSet } from './data-set.ts'
import { describeMachine, type Figure, printFigures } from './figure.ts'

const USAGE = `npm run bench -- backup [--json] [--quick] [--reset] [--folder PATH]

Measures on a Postgres of its own with 4,000,000 rows of the demonstration, made on first use and kept
below .local/bench. Nothing there is synced to the disk: these are figures of speed, not of a disk.
  --quick   a twentieth of everything, to try out the benchmark; the aims are meant for the whole
  --reset   make the data set anew
  --json    one JSON document on stdout`

const BENCHMARKS = new Map([['backup', benchBackup]])

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
  const bench = BENCHMARKS.get(name)
  if (bench === undefined || values.help) {
    console.error(USAGE)
    process.exitCode = values.help ? 0 : 2
    return
  }
  const tell = (line: string) => console.error(line)
  // Warnings of packages go to the console too, and stdout is for the document.
  if (values.json) console.log = console.error
  const dataSet = await openDataSet({
    folder: values.folder,
    isQuick: values.quick,
    reset: values.reset,
    tell,
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void dataSet.stop().finally(() => process.exit(130)))
  }
  try {
    const machine = describeMachine(dataSet.postgresVersion)
    tell(
      `${machine.cores} cores (${machine.processor}), ${machine.memoryGb} GB, ${machine.system}, Node ${machine.node}, Postgres ${machine.postgres}, load ${machine.loadBefore.toFixed(1)}`,
    )
    const startedAt = performance.now()
    const figures: Figure[] = await bench(dataSet, tell)
    const seconds = (performance.now() - startedAt) / 1000
    const document = {
      benchmark: name,
      isQuick: values.quick,
      machine,
      dataSet: { rows: dataSet.rows, tenants: dataSet.tenantCount, isDurable: false },
      seconds,
      figures,
    }
    process.stdout.write(
      values.json ? `${JSON.stringify(document, null, 2)}\n` : `${printFigures(figures)}\n`,
    )
    tell(`${seconds.toFixed(0)} s`)
  } finally {
    await dataSet.stop()
  }
}

await main()
