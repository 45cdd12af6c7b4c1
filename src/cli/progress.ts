import { formatCount, printable } from './format-text.ts'

/** One step of long work: a table of a backup, or of its verification. */
export interface Step {
  /** What the steps belong to, a tenant for example. */
  group: string
  name: string
  done: number
  total: number
  /** What is counted: «rows» or «objects». */
  unit: string
}

/** Shows how far the work is, on stderr, so that stdout holds the result alone. */
export interface Progress {
  update(step: Step): void
  /** A line that stays. */
  say(line: string): void
  /** Ends the bar that is still moving. */
  end(): void
}

export interface ProgressOutput {
  write(text: string): unknown
  isTTY?: boolean
  columns?: number
}

const BAR_WIDTH = 24
const REDRAW_MS = 80

/** A bar per table on a terminal, where the last one moves; one line per finished table elsewhere. */
export function showProgress(output: ProgressOutput): Progress {
  return output.isTTY === true ? showBars(output) : showLines(output)
}

function showLines(output: ProgressOutput): Progress {
  return trackSteps({
    onStep: () => {},
    onDone: (step) =>
      output.write(`${printable(step.group)}: ${printable(step.name)}, ${counted(step)}\n`),
    say: (line) => output.write(`${printable(line)}\n`),
  })
}

function showBars(output: ProgressOutput): Progress {
  let drawnAt = 0
  const draw = (step: Step, end: string) => {
    const width = (output.columns || 80) - 1
    output.write(`\r\x1b[2K${bar(step).slice(0, width)}${end}`)
    drawnAt = Date.now()
  }
  return trackSteps({
    onStep: (step) => {
      if (Date.now() - drawnAt >= REDRAW_MS) draw(step, '')
    },
    onDone: (step) => draw(step, '\n'),
    say: (line) => output.write(`\r\x1b[2K${printable(line)}\n`),
  })
}

/** Tells the steps that go on from those that are over, because another one began. */
function trackSteps(show: {
  onStep(step: Step): void
  onDone(step: Step): void
  say(line: string): void
}): Progress {
  let current: Step | undefined
  const finish = () => {
    if (current !== undefined) show.onDone(current)
    current = undefined
  }
  return {
    update(step) {
      if (current !== undefined && (current.group !== step.group || current.name !== step.name)) {
        finish()
      }
      current = step
      show.onStep(step)
    },
    say(line) {
      finish()
      show.say(line)
    },
    end: finish,
  }
}

function bar(step: Step): string {
  const share = step.total === 0 ? 1 : Math.min(1, step.done / step.total)
  const filled = Math.round(share * BAR_WIDTH)
  const drawing = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled)
  return `${drawing} ${String(Math.floor(share * 100)).padStart(3)} %  ${printable(step.name)}  ${counted(step)}`
}

function counted({ done, total, unit }: Step): string {
  const amount =
    done === total ? formatCount(done) : `${formatCount(done)} of ${formatCount(total)}`
  return `${amount} ${unit}`
}
