import { cpus, loadavg, release, totalmem } from 'node:os'

/** One result of a benchmark, with what it was meant to be. */
export interface Figure {
  name: string
  /** The median of the samples. */
  value: number
  unit: 's' | 'ms' | 'MB' | '×' | 'objects' | 'queries' | 'tenants/s'
  samples: readonly number[]
  aim: { atMost: number } | { atLeast: number } | null
  /** Null without an aim. */
  isMet: boolean | null
}

export interface Machine {
  cores: number
  processor: string
  memoryGb: number
  system: string
  node: string
  postgres: string
  /** Processes that wanted a core over the last minute when the benchmark began: above 1, others worked too. */
  loadBefore: number
}

export function figure(
  name: string,
  unit: Figure['unit'],
  samples: readonly number[],
  aim: Figure['aim'] = null,
): Figure {
  const value = median(samples)
  const isMet = aim === null ? null : 'atMost' in aim ? value <= aim.atMost : value >= aim.atLeast
  return { name, value, unit, samples, aim, isMet }
}

export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

export function describeMachine(postgres: string): Machine {
  return {
    cores: cpus().length,
    processor: cpus()[0]?.model ?? 'unknown',
    memoryGb: Math.round(totalmem() / 1024 ** 3),
    system: `${process.platform} ${process.arch} ${release()}`,
    node: process.version,
    postgres,
    loadBefore: loadavg()[0] ?? 0,
  }
}

/** One line a figure: value, range of the samples, aim, whether it was met. */
export function printFigures(figures: readonly Figure[]): string {
  const width = Math.max(...figures.map(({ name }) => name.length))
  return figures
    .map(({ name, value, unit, samples, aim, isMet }) => {
      const range = `${format(Math.min(...samples))} to ${format(Math.max(...samples))}`
      const wanted =
        aim === null ? '' : 'atMost' in aim ? `aim ≤ ${aim.atMost}` : `aim ≥ ${aim.atLeast}`
      const verdict = isMet === null ? '' : isMet ? 'met' : 'MISSED'
      const measured = `${format(value)} ${unit}`.padStart(16)
      const text = `${name.padEnd(width)}  ${measured}  (${range}; ${samples.length})`
      return `${text.padEnd(width + 46)}  ${wanted.padEnd(10)}  ${verdict}`.trimEnd()
    })
    .join('\n')
}

function format(value: number): string {
  return value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)
}
