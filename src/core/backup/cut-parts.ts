import { BackupError } from '../errors.ts'

/**
 * Turns the lines of a table into parts: whole JSON arrays, one row on a line, the framing character
 * first (`[` for the first row, `,` for every other, `]` on a line of its own at the end). Where the
 * cuts fall depends on the rows alone and never on how the network chopped them, so that equal data
 * gives equal parts. Rows are bytes here; nothing parses them.
 */

/** Raw bytes of a part, framing included. A larger row is a part of its own. */
const PART_BYTES = 8 * 1024 * 1024
/** Most tables of most tenants are small: the memory of their one part grows with them. */
const FIRST_BYTES = 64 * 1024

const COMMA = 0x2c
const OPEN = 0x5b
const NEWLINE = 0x0a
const CLOSE = Buffer.from(']\n')

export interface RawPart {
  bytes: Buffer
  rows: number
  /** Gives the memory back for another part; `bytes` must not be used afterwards. */
  release(): void
}

export interface PartLimits {
  maxRowBytes: number
  partBytes?: number
}

/** Memory of parts, used again and again, so that it stays flat whatever the tenant's size. */
export class PartBuffers {
  readonly #free: Buffer[] = []

  /** Memory of at least that many bytes. */
  take(leastBytes: number): Buffer {
    const free = this.#free.find(({ length }) => length >= leastBytes)
    if (free === undefined) return Buffer.allocUnsafeSlow(leastBytes)
    this.#free.splice(this.#free.indexOf(free), 1)
    return free
  }

  giveBack(buffer: Buffer): void {
    this.#free.push(buffer)
  }
}

/** Cuts the lines `,{…}\n` of one table. Throws `row_too_large`, and `encoding_not_exact` for what is no row. */
export class PartCutter {
  readonly #table: string
  readonly #buffers: PartBuffers
  readonly #maxRowBytes: number
  readonly #partBytes: number
  #buffer: Buffer
  #used = 0
  /** Where the last whole line of the buffer ends; what follows is the start of the next. */
  #end = 0
  #rows = 0
  /** A row that outgrew a part, in doubling memory of its own. */
  #large: Buffer | undefined
  #hasParts = false
  /** Rows seen so far. */
  rows = 0

  constructor(
    table: string,
    { maxRowBytes, partBytes = PART_BYTES }: PartLimits,
    buffers: PartBuffers,
  ) {
    this.#table = table
    this.#buffers = buffers
    this.#maxRowBytes = maxRowBytes
    this.#partBytes = partBytes
    this.#buffer = buffers.take(Math.min(FIRST_BYTES, partBytes))
  }

  /** Takes the next bytes; returns the parts that they filled. */
  push(chunk: Buffer): RawPart[] {
    const parts: RawPart[] = []
    let offset = 0
    while (offset < chunk.length) {
      if (this.#large !== undefined) {
        offset += this.#growLarge(chunk, offset, parts)
        continue
      }
      const from = this.#used
      const room = this.#partBytes - CLOSE.length - from
      const taken = Math.min(room, chunk.length - offset)
      this.#reserve(from + taken + CLOSE.length)
      chunk.copy(this.#buffer, from, offset, offset + taken)
      this.#used += taken
      offset += taken
      this.#countLines(from)
      if (offset === chunk.length) break
      // Full, and there is more: the part ends with its last whole line.
      if (this.#end > 0) parts.push(this.#cut(this.#buffers.take(this.#partBytes)))
      else this.#startLarge()
    }
    return parts
  }

  /** Returns the last part, if there is any: a table without rows is one empty array. */
  finish(): RawPart[] {
    if (this.#large !== undefined || this.#used !== this.#end) {
      throw new BackupError(
        'encoding_not_exact',
        `The rows of ${this.#table} end in the middle of a line.`,
      )
    }
    if (this.#rows > 0) return [this.#cut(this.#buffer)]
    if (this.#hasParts) {
      this.#buffers.giveBack(this.#buffer)
      return []
    }
    this.#buffer[0] = OPEN
    this.#buffer[1] = NEWLINE
    this.#end = 2
    this.#used = 2
    return [this.#cut(this.#buffer)]
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#buffer.length) return
    const doubled = Math.max(bytes, 2 * this.#buffer.length)
    const grown = this.#buffers.take(Math.min(doubled, this.#partBytes))
    this.#buffer.copy(grown, 0, 0, this.#used)
    this.#buffers.giveBack(this.#buffer)
    this.#buffer = grown
  }

  #countLines(from: number): void {
    const view = this.#buffer.subarray(0, this.#used)
    for (let at = view.indexOf(NEWLINE, from); at !== -1; at = view.indexOf(NEWLINE, at + 1)) {
      if (view[this.#end] !== COMMA) this.#refuseLine()
      if (at - this.#end > this.#maxRowBytes) this.#refuseSize()
      this.#end = at + 1
      this.#rows += 1
      this.rows += 1
    }
  }

  /** The whole lines of the buffer as a part; the start of the next line moves to `next`. */
  #cut(next: Buffer): RawPart {
    const full = this.#buffer
    full.copy(next, 0, this.#end, this.#used)
    full[0] = OPEN
    CLOSE.copy(full, this.#end)
    const part = {
      bytes: full.subarray(0, this.#end + CLOSE.length),
      rows: this.#rows,
      release: () => this.#buffers.giveBack(full),
    }
    this.#buffer = next
    this.#used -= this.#end
    this.#end = 0
    this.#rows = 0
    this.#hasParts = true
    return part
  }

  #startLarge(): void {
    if (this.#buffer[0] !== COMMA) this.#refuseLine()
    this.#large = Buffer.allocUnsafeSlow(2 * this.#partBytes)
    this.#buffer.copy(this.#large, 0, 0, this.#used)
  }

  /** Takes bytes up to the end of the large row, and no further; returns how many. */
  #growLarge(chunk: Buffer, offset: number, parts: RawPart[]): number {
    const newline = chunk.indexOf(NEWLINE, offset)
    const upTo = newline === -1 ? chunk.length : newline + 1
    const size = this.#used + upTo - offset
    if (size > this.#maxRowBytes + 1) this.#refuseSize()
    let large = this.#large ?? Buffer.alloc(0)
    if (size + CLOSE.length > large.length) {
      const grown = Buffer.allocUnsafeSlow(2 * large.length)
      large.copy(grown, 0, 0, this.#used)
      large = grown
      this.#large = grown
    }
    chunk.copy(large, this.#used, offset, upTo)
    this.#used = size
    if (newline !== -1) {
      large[0] = OPEN
      CLOSE.copy(large, size)
      parts.push({ bytes: large.subarray(0, size + CLOSE.length), rows: 1, release: () => {} })
      this.rows += 1
      this.#hasParts = true
      this.#large = undefined
      this.#used = 0
    }
    return upTo - offset
  }

  #refuseLine(): never {
    throw new BackupError(
      'encoding_not_exact',
      `A row of ${this.#table} could not be written as a line of JSON.`,
      { details: { table: this.#table } },
    )
  }

  #refuseSize(): never {
    throw new BackupError(
      'row_too_large',
      `A row of ${this.#table} is larger than ${this.#maxRowBytes} bytes as JSON. Raise the setting max_row_bytes, or register its table as excluded.`,
      { details: { table: this.#table, max_row_bytes: this.#maxRowBytes } },
    )
  }
}
