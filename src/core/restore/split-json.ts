import { isUtf8 } from 'node:buffer'
import { BackupError } from '../errors.ts'

/**
 * Splits a JSON array of objects into its objects without parsing a value: numbers keep every digit, keys
 * may occur twice, and blanks between tokens are dropped, so that each row is one line. The grammar is
 * checked to the last byte, since a file that was cut short must not pass for a whole one.
 *
 * Some tools wrap the array, `{"table": …, "data": […]}`; that is read as well.
 */

/** One object of the array. */
export interface JsonRow {
  /** Its text without a blank outside of strings, hence without a line break. */
  line: Buffer
  /** Where it stands in the file, in bytes; `end` is the first byte after it. */
  start: number
  end: number
}

export interface SplitOptions {
  /** How messages call the file. */
  file: string
  /** A larger row is refused; so that nothing grows beyond it in memory. */
  maxRowBytes: number
  /** Receives the keys that rows have. */
  keys?: Set<string>
}

/** Deeper than anybody's document, and far from what ends Postgres' own parser. */
const MAX_DEPTH = 1_000

/** The member that holds the rows where they are wrapped in an object. */
const WRAPPED_ROWS = '"data"'

/**
 * The rows of a file, in their order and in batches. Throws `archive_unreadable` with file and byte for what
 * is no JSON, no array of objects, too deeply nested or cut short, and `row_too_large`.
 */
export async function* splitJsonRows(
  chunks: AsyncIterable<Buffer> | Iterable<Buffer>,
  options: SplitOptions,
): AsyncGenerator<JsonRow[]> {
  const splitter = new Splitter(options)
  for await (const chunk of chunks) {
    const rows = splitter.push(chunk)
    if (rows.length > 0) yield rows
  }
  splitter.finish()
}

/** What may come next, as bits. */
const VALUE = 1
const KEY = 2
const COLON = 4
const COMMA = 8
const END_OBJECT = 16
const END_ARRAY = 32

/** What the next byte belongs to. */
const BETWEEN = 0
const STRING = 1
const ESCAPE = 2
const HEX = 3
const NUMBER = 4
const WORD = 5

/** How far a number has come; those that may end there are the last four. */
const AFTER_MINUS = 0
const AFTER_POINT = 1
const AFTER_E = 2
const AFTER_E_SIGN = 3
const ZERO = 4
const INTEGER = 5
const FRACTION = 6
const EXPONENT = 7

const OBJECT = 0x7b
const ARRAY = 0x5b
const QUOTE = 0x22
const BACKSLASH = 0x5c
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf]
/** By their first bytes. */
const WORDS = new Map(
  ['true', 'false', 'null'].map((word) => [word.charCodeAt(0), Buffer.from(word)]),
)
const FIRST_BYTES = 64 * 1024

class Splitter {
  readonly #options: SplitOptions
  /** Opening bytes of what is open. */
  readonly #open: number[] = []
  #next = VALUE
  #within = BETWEEN
  #isKey = false
  #numberState = ZERO
  #hexLeft = 0
  #word: Buffer = Buffer.alloc(0)
  #wordAt = 0
  /** How many are open inside the array of rows; 0 before it began. */
  #rowsDepth = 0
  #hasRows = false
  /** The row, or the key of the wrapping object, as far as it has come. */
  #text: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES)
  #used = 0
  #rowStart = 0
  #keyStart = 0
  /** Keys in the order of the row before: nearly always those of this one. */
  #known: Buffer[] = []
  #keyIndex = 0
  #base = 0
  #rows: JsonRow[] = []

  constructor(options: SplitOptions) {
    this.#options = options
  }

  /** Takes the next bytes; returns the rows that ended within them. */
  push(chunk: Buffer): JsonRow[] {
    this.#rows = []
    let at = this.#skipByteOrderMark(chunk)
    while (at < chunk.length) {
      switch (this.#within) {
        case BETWEEN:
          this.#take(chunk[at] ?? 0, this.#base + at)
          at += 1
          break
        case STRING:
          at = this.#takeString(chunk, at)
          break
        case ESCAPE:
        case HEX:
          this.#takeEscape(chunk[at] ?? 0, this.#base + at)
          at += 1
          break
        case NUMBER:
          // A number ends with the first byte that is not its own, which is then taken again.
          if (this.#takeDigit(chunk[at] ?? 0, this.#base + at)) at += 1
          break
        default:
          this.#takeWord(chunk[at] ?? 0, this.#base + at)
          at += 1
      }
    }
    this.#base += chunk.length
    return this.#rows
  }

  /** Throws where the text ended too early. */
  finish(): void {
    if (this.#open.length > 0 || this.#next === VALUE) this.#refuse('ends too early', this.#base)
    if (!this.#hasRows) this.#refuseShape(0)
  }

  #skipByteOrderMark(chunk: Buffer): number {
    const hasMark = this.#base === 0 && BYTE_ORDER_MARK.every((byte, at) => chunk[at] === byte)
    return hasMark ? BYTE_ORDER_MARK.length : 0
  }

  /** One byte outside of strings, numbers and words. */
  #take(byte: number, at: number): void {
    switch (byte) {
      case 0x20:
      case 0x09:
      case 0x0a:
      case 0x0d:
        return
      case OBJECT:
        this.#require(VALUE, at)
        if (this.#open.length === this.#rowsDepth && this.#rowsDepth > 0) this.#startRow(at)
        this.#push(byte, at)
        this.#next = KEY | END_OBJECT
        this.#append(byte, at)
        return
      case ARRAY:
        this.#require(VALUE, at)
        if (this.#isRow()) this.#refuseRow(at)
        if (this.#startsRows()) {
          this.#rowsDepth = this.#open.length + 1
          this.#hasRows = true
        }
        this.#push(byte, at)
        this.#next = VALUE | END_ARRAY
        this.#append(byte, at)
        return
      case 0x7d:
        this.#require(END_OBJECT, at)
        this.#append(byte, at)
        this.#pop(at)
        return
      case 0x5d:
        this.#require(END_ARRAY, at)
        this.#append(byte, at)
        this.#pop(at)
        return
      case 0x2c:
        this.#require(COMMA, at)
        this.#next = this.#open.at(-1) === OBJECT ? KEY : VALUE
        this.#append(byte, at)
        return
      case 0x3a:
        this.#require(COLON, at)
        this.#next = VALUE
        this.#append(byte, at)
        return
      case QUOTE:
        this.#startString(at)
        return
      default:
        this.#startScalar(byte, at)
    }
  }

  #startString(at: number): void {
    this.#isKey = (this.#next & KEY) !== 0
    if (!this.#isKey) this.#requireScalar(at)
    // The keys of a wrapping object are kept for as long as it takes to compare them.
    if (this.#isKey && !this.#isInRow()) this.#used = 0
    this.#keyStart = this.#used
    this.#within = STRING
    if (this.#isKept()) this.#write(QUOTE, at)
  }

  #startScalar(byte: number, at: number): void {
    const word = WORDS.get(byte)
    const isDigit = byte >= 0x30 && byte <= 0x39
    if (word === undefined && !isDigit && byte !== 0x2d) this.#refuse('is not JSON', at)
    this.#requireScalar(at)
    if (word === undefined) {
      this.#within = NUMBER
      this.#numberState = byte === 0x2d ? AFTER_MINUS : byte === 0x30 ? ZERO : INTEGER
    } else {
      this.#within = WORD
      this.#word = word
      this.#wordAt = 1
    }
    this.#append(byte, at)
  }

  /** Takes a string up to its end, an escape or the end of the chunk; returns where it stopped. */
  #takeString(chunk: Buffer, from: number): number {
    let at = from
    for (; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0
      if (byte === QUOTE || byte === BACKSLASH) break
      if (byte < 0x20) this.#refuse('is not JSON', this.#base + at)
    }
    if (this.#isKept()) {
      this.#reserve(at - from, this.#base + at)
      this.#used += chunk.copy(this.#text, this.#used, from, at)
    }
    if (at === chunk.length) return at
    const isEnd = chunk[at] === QUOTE
    if (this.#isKept()) this.#write(isEnd ? QUOTE : BACKSLASH, this.#base + at)
    if (isEnd) this.#endString()
    else this.#within = ESCAPE
    return at + 1
  }

  #endString(): void {
    this.#within = BETWEEN
    if (!this.#isKey) {
      this.#endValue()
      return
    }
    this.#next = COLON
    if (this.#open.length === this.#rowsDepth + 1 && this.#isInRow()) this.#noteKey()
  }

  #takeEscape(byte: number, at: number): void {
    if (this.#within === HEX) {
      const isHex = /[0-9A-Fa-f]/.test(String.fromCharCode(byte))
      if (!isHex) this.#refuse('is not JSON', at)
      this.#hexLeft -= 1
      if (this.#hexLeft === 0) this.#within = STRING
    } else if (byte === 0x75) {
      this.#within = HEX
      this.#hexLeft = 4
    } else if ('"\\/bfnrt'.includes(String.fromCharCode(byte))) {
      this.#within = STRING
    } else {
      this.#refuse('is not JSON', at)
    }
    if (this.#isKept()) this.#write(byte, at)
  }

  /** Takes a byte if the number goes on with it. */
  #takeDigit(byte: number, at: number): boolean {
    const state = this.#numberState
    const next = nextOfNumber(state, byte)
    if (next === undefined) {
      if (state < ZERO) this.#refuse('is not JSON', at)
      this.#within = BETWEEN
      this.#endValue()
      return false
    }
    this.#numberState = next
    this.#append(byte, at)
    return true
  }

  #takeWord(byte: number, at: number): void {
    if (byte !== this.#word[this.#wordAt]) this.#refuse('is not JSON', at)
    this.#append(byte, at)
    this.#wordAt += 1
    if (this.#wordAt < this.#word.length) return
    this.#within = BETWEEN
    this.#endValue()
  }

  #push(byte: number, at: number): void {
    if (this.#open.length >= MAX_DEPTH) {
      this.#refuse(`is nested more than ${MAX_DEPTH} levels deep`, at)
    }
    this.#open.push(byte)
  }

  #pop(at: number): void {
    this.#open.pop()
    const depth = this.#open.length
    if (this.#rowsDepth > 0 && depth === this.#rowsDepth) this.#endRow(at)
    if (this.#rowsDepth > depth) this.#rowsDepth = 0
    this.#endValue()
  }

  #endValue(): void {
    const inside = this.#open.at(-1)
    this.#next = inside === undefined ? 0 : COMMA | (inside === OBJECT ? END_OBJECT : END_ARRAY)
  }

  #startRow(at: number): void {
    this.#used = 0
    this.#rowStart = at
    this.#keyIndex = 0
  }

  #endRow(at: number): void {
    const line = Buffer.from(this.#text.subarray(0, this.#used))
    if (!isUtf8(line)) this.#refuse('is not UTF-8', this.#rowStart)
    this.#rows.push({ line, start: this.#rowStart, end: at + 1 })
  }

  #noteKey(): void {
    const { keys } = this.#options
    if (keys === undefined) return
    const known = this.#known[this.#keyIndex]
    const isKnown = known?.compare(this.#text, this.#keyStart, this.#used) === 0
    if (!isKnown) {
      const key = Buffer.from(this.#text.subarray(this.#keyStart, this.#used))
      this.#known[this.#keyIndex] = key
      // A key is a name, not a value; escapes in it are resolved.
      keys.add(String(JSON.parse(key.toString('utf8'))))
    }
    this.#keyIndex += 1
  }

  /** Directly in the array of rows, where only objects may stand. */
  #isRow(): boolean {
    return this.#rowsDepth > 0 && this.#open.length === this.#rowsDepth
  }

  #isInRow(): boolean {
    return this.#rowsDepth > 0 && this.#open.length > this.#rowsDepth
  }

  #isKept(): boolean {
    return this.#isInRow() || (this.#isKey && this.#open.length === 1)
  }

  /** The array at the top, or that of the member `data` of an object at the top. */
  #startsRows(): boolean {
    if (this.#open.length === 0) return true
    if (this.#open.length > 1 || this.#open[0] !== OBJECT || this.#hasRows) return false
    return this.#text.toString('latin1', 0, this.#used) === WRAPPED_ROWS
  }

  #append(byte: number, at: number): void {
    if (this.#isInRow()) this.#write(byte, at)
  }

  #write(byte: number, at: number): void {
    this.#reserve(1, at)
    this.#text[this.#used] = byte
    this.#used += 1
  }

  #reserve(bytes: number, at: number): void {
    const needed = this.#used + bytes
    const { file, maxRowBytes } = this.#options
    if (needed <= this.#text.length && needed <= maxRowBytes) return
    if (needed > maxRowBytes) {
      throw new BackupError(
        'row_too_large',
        `${file} has a row of more than ${maxRowBytes} bytes, near byte ${at}. Raise the setting max_row_bytes.`,
        { details: { file, offset: at, max_row_bytes: maxRowBytes } },
      )
    }
    const grown = Buffer.allocUnsafeSlow(
      Math.min(maxRowBytes, Math.max(needed, 2 * this.#text.length)),
    )
    this.#text.copy(grown, 0, 0, this.#used)
    this.#text = grown
  }

  #require(bit: number, at: number): void {
    if ((this.#next & bit) !== 0) return
    const isAfter = this.#open.length === 0 && this.#next === 0
    this.#refuse(isAfter ? 'goes on after its end' : 'is not JSON', at)
  }

  #requireScalar(at: number): void {
    this.#require(VALUE, at)
    if (this.#open.length === 0) this.#refuseShape(at)
    if (this.#isRow()) this.#refuseRow(at)
  }

  #refuseRow(at: number): never {
    this.#refuse('has something else than an object among its rows', at)
  }

  #refuseShape(at: number): never {
    this.#refuse('is not an array of rows', at)
  }

  #refuse(what: string, at: number): never {
    const { file } = this.#options
    throw new BackupError('archive_unreadable', `${file} ${what} (byte ${at}).`, {
      details: { file, offset: at },
    })
  }
}

/** The state of a number after one more byte; undefined where it can't go on with it. */
function nextOfNumber(state: number, byte: number): number | undefined {
  const isDigit = byte >= 0x30 && byte <= 0x39
  if (isDigit) {
    if (state === AFTER_MINUS) return byte === 0x30 ? ZERO : INTEGER
    if (state === INTEGER) return INTEGER
    if (state === AFTER_POINT || state === FRACTION) return FRACTION
    return state === ZERO ? undefined : EXPONENT
  }
  if (byte === 0x2e) return state === ZERO || state === INTEGER ? AFTER_POINT : undefined
  if (byte === 0x65 || byte === 0x45) {
    return state === ZERO || state === INTEGER || state === FRACTION ? AFTER_E : undefined
  }
  if (byte === 0x2b || byte === 0x2d) return state === AFTER_E ? AFTER_E_SIGN : undefined
  return undefined
}
