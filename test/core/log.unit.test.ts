import { DatabaseError } from 'pg'
import { expect, test } from 'vitest'
import { BackupError } from '../../src/core/errors.ts'
import { createLogger, logPhase } from '../../src/core/log.ts'

function collect() {
  const lines: string[] = []
  const log = createLogger({ destination: { write: (line) => void lines.push(line) } })
  return { log, read: () => lines.map((line) => JSON.parse(line)), text: () => lines.join('') }
}

test('keeps ids, codes and counts', () => {
  const { log, read } = collect()

  log.info({ tenant_id: 't1', code: 'tenant_busy', duration_ms: 12 }, 'backup failed')

  expect(read()).toMatchObject([
    { level: 'info', tenant_id: 't1', code: 'tenant_busy', duration_ms: 12, msg: 'backup failed' },
  ])
})

test('drops whatever it was not told to keep', () => {
  const { log, text } = collect()

  log.info({ row: { email: 'canary@example.com' }, body: 'canary', rows: { canary: 1 } }, 'x')
  log.child({ request_id: 'r1' }).info({ token: 'canary' }, 'y')
  log.info('z %s', 'canary')
  log.error(new Error('canary'))
  log.error({ err: new Error('canary') })

  expect(text()).not.toContain('canary')
  expect(text()).toContain('"request_id":"r1"')
})

test('says of an unknown error what kind it is and where it came from, not what it says', () => {
  const { log, read, text } = collect()
  const cause = new DatabaseError('invalid input syntax for type integer: "canary"', 60, 'error')
  cause.code = '22P02'

  log.error({ err: new Error('canary', { cause }) }, 'internal')

  expect(text()).not.toContain('canary')
  const [{ err }] = read()
  expect(err).toMatchObject({ type: 'Error', sqlstate: '22P02', cause: { sqlstate: '22P02' } })
  expect(err.at[0]).toContain('log.unit.test')
})

test('says of an error of ours all that it says', () => {
  const { log, read } = collect()

  log.error({ err: new BackupError('bucket_missing', 'Make a bucket.') }, 'refused')

  expect(read()[0].err).toMatchObject({ code: 'bucket_missing', message: 'Make a bucket.' })
})

test('writes every name in one spelling', () => {
  const { log, read } = collect()

  log.info({ runId: 'r1', backup_id: 'b1' }, 'x')

  expect(read()).toMatchObject([{ run_id: 'r1', backup_id: 'b1' }])
})

test('a phase has a line when it begins and one when it ends, with counts and how long it took', async () => {
  const { log, read } = collect()

  const result = await logPhase(
    log,
    'verify',
    { backupId: 'b1', tenantId: 't1' },
    async () => 7,
    (rows) => ({ rows }),
  )

  expect(result).toBe(7)
  expect(read()).toMatchObject([
    { msg: 'verify begins', phase: 'verify', backup_id: 'b1', tenant_id: 't1' },
    {
      msg: 'verify ends',
      phase: 'verify',
      backup_id: 'b1',
      rows: 7,
      duration_ms: expect.any(Number),
    },
  ])
})

test('a phase that fails says so and throws on', async () => {
  const { log, read, text } = collect()
  const work = logPhase(
    log,
    'backup',
    { tenantId: 't1' },
    () => Promise.reject(new Error('canary')),
    () => ({}),
  )

  await expect(work).rejects.toThrow('canary')
  expect(read().at(-1)).toMatchObject({ level: 'warn', msg: 'backup fails', code: 'internal' })
  expect(text()).not.toContain('canary"')
})
