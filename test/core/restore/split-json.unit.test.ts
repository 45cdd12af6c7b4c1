import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BackupError } from '../../../src/core/errors.ts'
import { type JsonRow, splitJsonRows } from '../../../src/core/restore/split-json.ts'

const anyRows = fc.array(fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue()), {
  maxLength: 8,
})
const anyIndent = fc.constantFrom(undefined, 1, 2, '\t')

test('gives every object of any array on a line of its own, however the file is chopped', async () => {
  await fc.assert(
    fc.asyncProperty(
      anyRows,
      anyIndent,
      fc.integer({ min: 1, max: 40 }),
      async (rows, indent, size) => {
        const body = Buffer.from(JSON.stringify(rows, null, indent).toWellFormed())

        const split = await splitAll(chop(body, size))

        expect(split.map(({ line }) => JSON.parse(line.toString()))).toEqual(
          JSON.parse(body.toString()),
        )
        for (const { line, start, end } of split) {
          expect(line.includes(0x0a)).toBe(false)
          expect(JSON.parse(body.toString('utf8', start, end))).toEqual(JSON.parse(line.toString()))
        }
      },
    ),
  )
})

test('refuses a file that was cut anywhere', async () => {
  await fc.assert(
    fc.asyncProperty(anyRows, anyIndent, fc.nat(), async (rows, indent, at) => {
      const body = Buffer.from(JSON.stringify(rows, null, indent))
      const cut = body.subarray(0, at % body.length)

      expect(await refusal([cut])).toMatchObject({ code: 'archive_unreadable' })
    }),
  )
})

test('accepts exactly what JSON.parse accepts', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(...'[]{},:"\\ -.0123456789eE+tfnrualsx\n\t'), { maxLength: 12 }),
      async (characters) => {
        const body = `[{"a":${characters.join('')}}]`
        const hasRows = isArrayOfObjects(body)

        const code = await splitAll([Buffer.from(body)]).then(
          () => 'split',
          (error: unknown) => (error instanceof BackupError ? error.code : 'unknown'),
        )

        expect(code).toBe(hasRows ? 'split' : 'archive_unreadable')
      },
    ),
    { numRuns: 3_000 },
  )
})

test('keeps numbers, strings and doubled keys as they are written', async () => {
  const row =
    '{"a":9007199254740993.000000000000000000010,"a":-0.10E+05,"b":"\\u0041 \\" [{,  ","__proto__":{"x":1}}'

  const split = await splitAll([Buffer.from(`[ ${row} ]`)])

  expect(split.map(({ line }) => line.toString())).toEqual([row])
  expect(Object.prototype).not.toHaveProperty('x')
})

test('collects the keys of all rows, also those that only a late row has', async () => {
  const keys = new Set<string>()
  const body =
    '[{"id":1,"a":{"inner":2}},{"id":2,"a":3},{"a":4,"id":5,"l\\u0061te":6,"__proto__":7}]'

  await splitAll([Buffer.from(body)], { keys })

  expect([...keys]).toEqual(['id', 'a', 'late', '__proto__'])
})

test('reads an array that is the member data of an object, as some tools write it', async () => {
  const body =
    '{"table":"customers","meta":{"data":[1]},"record_count":2,"data":[{"id":1}, {"id":2}],"more":[3]}'

  const split = await splitAll(chop(Buffer.from(body), 3))

  expect(split.map(({ line }) => line.toString())).toEqual(['{"id":1}', '{"id":2}'])
})

test('skips a byte order mark', async () => {
  const split = await splitAll([Buffer.from('\uFEFF[{"id":1}]')])
  expect(split).toHaveLength(1)
})

test.each([
  ['an empty file', '', /ends too early \(byte 0\)/],
  ['an object', '{"a":1}', /is not an array of rows/],
  ['a number', '1', /is not an array of rows/],
  ['a string', '"rows"', /is not an array of rows/],
  ['a number among the rows', '[{"a":1},2]', /something else than an object .*\(byte 9\)/],
  ['an array among the rows', '[[1]]', /something else than an object .*\(byte 1\)/],
  ['a null among the rows', '[null]', /something else than an object/],
  ['a second value', '[{"a":1}] [', /goes on after its end \(byte 10\)/],
  ['a comma too many', '[{"a":1},]', /is not JSON \(byte 9\)/],
  ['a comma too many in a row', '[{"a":1,}]', /is not JSON \(byte 8\)/],
  ['a missing comma', '[{"a":1}{"a":2}]', /is not JSON \(byte 8\)/],
  ['a missing colon', '[{"a" 1}]', /is not JSON/],
  ['a leading zero', '[{"a":01}]', /is not JSON/],
  ['a lone minus', '[{"a":-}]', /is not JSON/],
  ['NaN', '[{"a":NaN}]', /is not JSON/],
  ['a word that is none', '[{"a":trux}]', /is not JSON/],
  ['single quotes', "[{'a':1}]", /is not JSON/],
  ['a raw line break in a string', '[{"a":"x\ny"}]', /is not JSON \(byte 8\)/],
  ['an escape that is none', '[{"a":"\\x"}]', /is not JSON/],
  ['a half escape', '[{"a":"\\u12g4"}]', /is not JSON/],
  ['the wrong bracket', '[{"a":[1}]]', /is not JSON/],
  ['a comment', '[{"a":1} /* b */]', /is not JSON/],
  ['lines of JSON', '{"a":1}\n{"a":2}', /goes on after its end/],
])('refuses %s, naming file and byte but no content', async (_, body, message) => {
  const error = await refusal([Buffer.from(body)])

  expect(error.code).toBe('archive_unreadable')
  expect(error.message).toMatch(message)
  expect(error.message).toMatch(/^customers\.json /)
})

test('refuses bytes that are not UTF-8', async () => {
  const body = Buffer.concat([
    Buffer.from('[{"a":"'),
    Buffer.from([0xc3, 0x28]),
    Buffer.from('"}]'),
  ])
  expect((await refusal([body])).message).toMatch(/is not UTF-8 \(byte 1\)/)
})

test('refuses what is nested without end, in a row and around it', async () => {
  for (const body of ['[{"a":'.concat('['.repeat(5_000)), '[{"a":'.concat('{"a":'.repeat(5_000))]) {
    expect((await refusal([Buffer.from(body)])).message).toMatch(/nested more than 1000 levels/)
  }
})

test('refuses a row that is larger than allowed, and reads one that just fits', async () => {
  const row = JSON.stringify({ a: 'x'.repeat(300_000) })
  const body = [Buffer.from(`[${row}]`)]

  expect(
    await splitAll(chop(body[0] ?? Buffer.alloc(0), 5_000), { maxRowBytes: row.length }),
  ).toHaveLength(1)
  const error = await refusal(body, { maxRowBytes: row.length - 1 })

  expect(error.code).toBe('row_too_large')
  expect(error.message).toMatch(/^customers\.json has a row of more than/)
})

interface Options {
  maxRowBytes?: number
  keys?: Set<string>
}

async function splitAll(chunks: Iterable<Buffer>, options: Options = {}): Promise<JsonRow[]> {
  const rows: JsonRow[] = []
  const given = { file: 'customers.json', maxRowBytes: 1024 ** 2, ...options }
  for await (const batch of splitJsonRows(chunks, given)) rows.push(...batch)
  return rows
}

async function refusal(chunks: Iterable<Buffer>, options: Options = {}): Promise<BackupError> {
  const error = await splitAll(chunks, options).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error instanceof BackupError) return error
  throw new Error('It was not refused.', { cause: error })
}

function* chop(body: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < body.length; at += size) yield body.subarray(at, at + size)
}

function isArrayOfObjects(text: string): boolean {
  try {
    const rows: unknown[] = JSON.parse(text)
    return rows.every((row) => typeof row === 'object' && row !== null && !Array.isArray(row))
  } catch {
    return false
  }
}
