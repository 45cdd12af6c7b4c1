import fc from 'fast-check'

/**
 * For every built-in type that a column can have: values as Postgres reads them, edge cases first, and
 * where it makes sense a generator of more. `nothing-lost.test.ts` fails for a type that is not here.
 */
export interface TypeSamples {
  values: string[]
  more?: fc.Arbitrary<string>
}

/** Postgres text holds no NUL, and no half of a surrogate pair. */
const anyText = fc
  .string({ unit: 'binary', maxLength: 60 })
  .map((text) => text.replaceAll('\0', '').toWellFormed())

const ODD_TEXTS = [
  '',
  ' ',
  'null',
  'NULL',
  '\\N',
  '\\.',
  '"',
  `it's`,
  '{"a":1}',
  ',{"id":1}',
  'a\nb\r\nc\td',
  '\u0001\u0002\u001f\u007f\u0080\u2028\u2029\ufeff\uffff',
  '\\u0000 \\x00 \\',
  'Zoë 東京 \u{1f9ea}\u{10ffff}',
  '"c":null',
]
const integers = (bits: bigint) =>
  fc.bigInt({ min: -(2n ** (bits - 1n)), max: 2n ** (bits - 1n) - 1n }).map(String)
const unsigned = (bits: bigint) => fc.bigInt({ min: 0n, max: 2n ** bits - 1n }).map(String)
const ip = fc.ipV4()
const pair = fc.tuple(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
)
const day = fc.date({
  min: new Date('0001-01-01T00:00:00Z'),
  max: new Date('9999-12-31T00:00:00Z'),
  noInvalidDate: true,
})
const range = (from: string, to: string) => [
  'empty',
  `[${from},${to})`,
  `(${from},)`,
  '(,)',
  `(,${to}]`,
]
const multirange = (from: string, to: string) => [
  '{}',
  `{[${from},${to})}`,
  '{(,)}',
  `{(,${from}),[${to},)}`,
]

export const BUILT_IN_TYPES: Record<string, TypeSamples> = {
  bool: { values: ['t', 'f'] },
  int2: { values: ['0', '-32768', '32767'], more: integers(16n) },
  int4: { values: ['0', '-2147483648', '2147483647'], more: integers(32n) },
  int8: {
    values: ['0', '-9223372036854775808', '9223372036854775807', '9007199254740993'],
    more: integers(64n),
  },
  float4: {
    values: ['0', '-0', 'NaN', 'Infinity', '-Infinity', '1e-45', '3.4028235e38', '0.1'],
    more: fc.float({ noNaN: true }).map(String),
  },
  float8: {
    values: ['0', '-0', 'NaN', 'Infinity', '-Infinity', '5e-324', '1.7976931348623157e308', '0.1'],
    more: fc.double({ noNaN: true }).map(String),
  },
  numeric: {
    values: [
      '0',
      '0.000',
      'NaN',
      'Infinity',
      '-Infinity',
      '1e-1000',
      '123456789012345678901234567890.123456789',
      '-1e500',
    ],
    more: fc
      .tuple(fc.bigInt(), fc.nat({ max: 40 }))
      .map(([digits, scale]) => `${digits}e-${scale}`),
  },
  money: { values: ['0', '-92233720368547758.08', '92233720368547758.07', '1234567.89'] },
  oid: { values: ['0', '4294967295'], more: unsigned(32n) },
  xid: { values: ['0', '4294967295'] },
  xid8: { values: ['0', '18446744073709551615'], more: unsigned(64n) },
  cid: { values: ['0', '4294967295'] },
  tid: { values: ['(0,0)', '(4294967295,65535)'] },
  pg_lsn: { values: ['0/0', 'FFFFFFFF/FFFFFFFF'] },
  text: { values: ODD_TEXTS, more: anyText },
  varchar: { values: ODD_TEXTS, more: anyText },
  bpchar: { values: ['', 'a', 'a  ', '  a', '"'], more: anyText },
  char: { values: ['', 'a', '"', '\\', ',', '\u0001', '\u007f'] },
  name: { values: ['', 'a', '"Quoted"', 'x'.repeat(63)] },
  uuid: { values: ['00000000-0000-0000-0000-000000000000'], more: fc.uuid() },
  bytea: {
    values: ['\\x', '\\x00', '\\x22272c5b5d0a0d0102ff'],
    more: fc
      .uint8Array({ maxLength: 40 })
      .map((bytes) => `\\x${Buffer.from(bytes).toString('hex')}`),
  },
  date: {
    values: ['infinity', '-infinity', '4713-01-01 BC', '5874897-12-31', '2000-02-29'],
    more: day.map((at) => at.toISOString().slice(0, 10)),
  },
  time: { values: ['00:00:00', '24:00:00', '23:59:59.999999'] },
  timetz: { values: ['00:00:00+15:59', '24:00:00-15:59', '12:00:00.000001+05:45:30'] },
  timestamp: {
    values: ['infinity', '-infinity', '4713-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999'],
    more: day.map((at) => at.toISOString()),
  },
  timestamptz: {
    values: [
      'infinity',
      '-infinity',
      '4713-01-01 00:00:00+00 BC',
      '294276-12-31 23:59:59.999999+00',
      '2026-03-29 01:30:00.000001+01',
    ],
    more: day.map((at) => at.toISOString()),
  },
  interval: {
    values: [
      '0',
      'infinity',
      '-infinity',
      '1 year -2 mons +3 days -04:05:06.789012',
      '-178000000 years',
      '2147483647 days',
      '1 mon -1 day',
    ],
  },
  bit: { values: ['0', '1'] },
  varbit: { values: ['', '0', '101', '1'.repeat(70)] },
  inet: {
    values: ['0.0.0.0/0', '10.1.2.3/8', '::', '::ffff:1.2.3.4/128', '2001:db8::1/64'],
    more: ip,
  },
  cidr: { values: ['0.0.0.0/0', '10.0.0.0/8', '2001:db8::/32'], more: ip },
  macaddr: { values: ['00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff'] },
  macaddr8: { values: ['00:00:00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff:ff:ff'] },
  refcursor: { values: ['', 'c1', '"odd"'] },
  json: {
    values: [
      'null',
      '{"b": 1,\n "a" : [ ],  "a": 2}',
      '"\\u0000"',
      '"\\ud800"',
      '1e999999',
      '[\r\n\t]',
      '{"a":null}',
    ],
    more: fc.json(),
  },
  jsonb: {
    values: [
      'null',
      '{"b": 1, "a": [], "a": 2}',
      '1e400',
      '"null"',
      '{"c":null,"jsonb":null}',
      '123456789012345678901234567890.10',
      '"\\u2028\\u0001\\""',
    ],
    more: fc.json({ stringUnit: 'grapheme' }).filter((text) => !text.includes('\\u')),
  },
  jsonpath: { values: ['$', '$."a b"[*] ? (@.x > 1)', 'strict $.a'] },
  xml: {
    values: [
      '',
      'plain',
      '<a b="1">\n<![CDATA[ & ]]></a>',
      '<?xml version="1.0" encoding="UTF-8"?><a/>',
      '<?xml version="1.0"?>\n<a>é</a>',
    ],
  },
  tsvector: { values: ['', `'a':1A,2B 'it''s':3`, `'back\\\\slash'`] },
  tsquery: { values: ['', `'a' & !'b':*A | 'c' <2> 'd'`] },
  point: {
    values: ['(0,0)', '(-0,1e-300)', '(NaN,Infinity)'],
    more: pair.map(([x, y]) => `(${x},${y})`),
  },
  line: { values: ['{1,2,3}', '{0,-1,0.1}'] },
  lseg: {
    values: ['[(0,0),(1,1)]'],
    more: fc.tuple(pair, pair).map(([a, b]) => `[(${a}),(${b})]`),
  },
  box: { values: ['(1,1),(0,0)'], more: fc.tuple(pair, pair).map(([a, b]) => `(${a}),(${b})`) },
  path: { values: ['[(0,0),(1,1)]', '((0,0),(1,1),(2,0))'] },
  polygon: { values: ['((0,0),(1,1),(2,0))'] },
  circle: { values: ['<(0,0),1>', '<(0.1,0.2),0.3>'] },
  int2vector: { values: ['', '1 2 -3'] },
  oidvector: { values: ['', '1 2 4294967295'] },
  regclass: { values: ['pg_catalog.pg_class', '-', '4294967295'] },
  regtype: { values: ['integer', '"char"', 'timestamp with time zone', '-'] },
  regproc: { values: ['now', '-'] },
  regprocedure: { values: ['pg_catalog.lower(text)', '-'] },
  regoper: { values: ['|/', '0'] },
  regoperator: { values: ['+(integer,integer)', '0'] },
  regrole: { values: ['postgres', '-'] },
  regnamespace: { values: ['pg_catalog', 'public', '-'] },
  regconfig: { values: ['english', '-'] },
  regdictionary: { values: ['simple', '-'] },
  regcollation: { values: ['"C"', '-'] },
  aclitem: { values: ['postgres=arwdDxt/postgres', '=r/postgres'] },
  pg_snapshot: { values: ['10:20:10,14,15', '1:1:'] },
  txid_snapshot: { values: ['10:20:10,14,15'] },
  int4range: { values: range('1', '10') },
  int8range: { values: range('-9223372036854775808', '9007199254740993') },
  numrange: { values: [...range('-1.50', '1e30'), '[1.0,1.00]'] },
  daterange: { values: range('2000-01-01', 'infinity') },
  tsrange: { values: range('"2000-01-01 00:00:00.000001"', 'infinity') },
  tstzrange: { values: range('"2000-01-01 00:00:00.000001+00"', 'infinity') },
  int4multirange: { values: multirange('1', '10') },
  int8multirange: { values: multirange('1', '9007199254740993') },
  nummultirange: { values: multirange('-1.50', '1e30') },
  datemultirange: { values: multirange('2000-01-01', '2001-01-01') },
  tsmultirange: { values: multirange('"2000-01-01 00:00:00"', '"2001-01-01 00:00:00"') },
  tstzmultirange: { values: multirange('"2000-01-01 00:00:00+00"', '"2001-01-01 00:00:00+00"') },
}
