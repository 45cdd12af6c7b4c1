import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { BackupError } from '../../../src/core/errors.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { RestoreOptions } from '../../../src/core/restore/restore-options.ts'
import type { RestoreResult } from '../../../src/core/restore/restore-result.ts'
import { restoreTenant } from '../../../src/core/restore/restore-tenant.ts'
import { type UndoInput, undoRestore } from '../../../src/core/restore/undo-restore.ts'
import { SYSTEM, servicesOf } from '../../support/backup-services.ts'
import {
  BUSY_DAMAGE,
  createBusyTrial,
  keepBusyHost,
  photographBusyHost,
} from '../../support/busy-host.ts'
import { expectQuiet, expectWhole } from '../../support/expect-whole.ts'
import { type Hook, type HookedDatabase, hookDatabase } from '../../support/hooked-database.ts'
import { type OtherSession, openOtherSession } from '../../support/other-session.ts'
import type { RestoreTrial } from '../../support/restore-trial.ts'

/**
 * Others write while a tenant is restored, each at a named statement of the restore. Whatever they do, the
 * restore is done in full, or nothing of it is, and no reference in the database leads nowhere.
 */
let trial: RestoreTrial
let backup: Backup
let resetHost: () => Promise<void>
let original: string[]
let other: OtherSession

/** Statements of a restore at which others act. */
const LOOK_ENDS = /^commit$/
const ACT_BEGINS = /^begin isolation level read committed/
const ROOT_LOCK = /for update$/
const LOCK_OF_DEFERRABLE = /^lock table .* in share row exclusive mode$/
const COMPLETION = /^update public\.backup_logs l set\s+status = 'complete'/
const RESTORED = { history: 'restore', accept_access_changes: true } as const

beforeAll(async () => {
  trial = await createBusyTrial()
  resetHost = await keepBusyHost(trial)
  backup = await trial.backUp()
  original = await photographBusyHost(trial)
})
afterAll(() => trial?.drop())

beforeEach(async () => {
  await resetHost()
  other = await openOtherSession(trial.database)
})
afterEach(async () => {
  await other.close()
  await expectWhole(trial.database)
  await expectQuiet(trial.database)
  const { rows } = await trial.database.admin.query(
    `select 1 from public.backup_logs where status = 'running'
     union all select 1 from public.tenant_backups where status = 'running'`,
  )
  expect(rows).toEqual([])
})

interface Outcome {
  result: RestoreResult | undefined
  /** `complete`, or the code of the error. */
  code: string
  error: BackupError | undefined
  database: HookedDatabase
}

async function settle(work: Promise<RestoreResult>, database: HookedDatabase): Promise<Outcome> {
  try {
    return { result: await work, code: 'complete', error: undefined, database }
  } catch (error) {
    if (!(error instanceof BackupError)) throw error
    return { result: undefined, code: error.code, error, database }
  }
}

/** A restore at whose statements others act; every hook must have acted. */
async function restore(
  hooks: readonly Hook[],
  given: {
    options?: Partial<RestoreOptions>
    isDryRun?: boolean
    of?: Backup
    waitMs?: number
  } = {},
): Promise<Outcome> {
  const { options = {}, isDryRun = false, of = backup, waitMs = 0 } = given
  const database = hookDatabase(trial.database.worker, hooks)
  const services = servicesOf(database, trial.store.store)
  const source = await openBackup(services, of)
  const outcome = await settle(
    restoreTenant(services, {
      tenantId: of.organizationId,
      source,
      isDryRun,
      options: RestoreOptions.parse({ ...RESTORED, ...options }),
      actor: SYSTEM,
      waitMs,
    }),
    database,
  )
  expect(
    database.acted.every((count) => count > 0),
    'every hook acted',
  ).toBe(true)
  return outcome
}

async function undo(
  hooks: readonly Hook[],
  given: Partial<UndoInput> & { restoreId: string },
): Promise<Outcome> {
  const database = hookDatabase(trial.database.worker, hooks)
  const work = undoRestore(servicesOf(database, trial.store.store), {
    tenantId: 'alpha',
    everything: false,
    onConflict: 'fail',
    isDryRun: false,
    actor: SYSTEM,
    ...given,
  })
  const outcome = await settle(work, database)
  expect(
    database.acted.every((count) => count > 0),
    'every hook acted',
  ).toBe(true)
  return outcome
}

/** Somebody writes between the look and the act. */
function between(sql: string, nth = 1): Hook {
  return {
    when: 'before',
    statement: ACT_BEGINS,
    nth,
    act: async () => void (await other.run(sql)),
  }
}

const photograph = () => photographBusyHost(trial)

/** The host as the backup has it, with what others did to it besides. */
async function originalWith(sql: string): Promise<string[]> {
  await resetHost()
  await other.run(sql)
  return photograph()
}

describe('between the look and the act', () => {
  test.each([
    [
      'a child of a row that goes is inserted',
      `insert into shop.accounts (id, tenant_id, label) values (8, 'alpha', 'new')`,
      `insert into shop.entries (account_id, note) values (8, 'late')`,
    ],
    [
      'the parent of a row that comes back is deleted',
      'delete from shop.entries where id = 31',
      'delete from shop.entries where account_id = 3; delete from shop.accounts where id = 3',
    ],
    [
      'a row that is changed back is updated',
      `update shop.accounts set label = 'spoiled' where id = 3`,
      `update shop.accounts set label = 'spoiled again' where id = 3`,
    ],
    [
      'a row that is changed back is deleted',
      `update shop.marks set body = 'spoiled' where id = 3`,
      'delete from shop.marks where id = 3',
    ],
    [
      'a row that goes is updated',
      `insert into shop.marks values (8, 'alpha', 'new')`,
      `update shop.marks set body = 'newer' where id = 8`,
    ],
    [
      'a row that goes is deleted, and comes again',
      `insert into shop.marks values (8, 'alpha', 'new')`,
      `delete from shop.marks where id = 8; insert into shop.marks values (8, 'alpha', 'new')`,
    ],
    [
      'a row that comes back is there again, with other values',
      'delete from shop.marks where id = 3',
      `insert into shop.marks values (3, 'alpha', 'other')`,
    ],
    [
      'a row without a key that goes is deleted',
      `insert into shop.events values ('alpha', 'new')`,
      `delete from shop.events where body = 'new'`,
    ],
    [
      'a unique value that comes back is taken by a newer row of the tenant',
      'delete from shop.accounts where false; delete from shop.entries where account_id = 4; delete from shop.accounts where id = 4',
      `insert into shop.accounts (id, tenant_id, label, code) values (8, 'alpha', 'new', 'alpha4')`,
    ],
    [
      'a deferrable value that comes back is taken by a newer row of the tenant',
      'delete from shop.slots where id = 6',
      `insert into shop.slots values (8, 'alpha', 6)`,
    ],
    [
      'a row of nobody that is put aside is changed',
      'delete from shop.entries where account_id = 4; delete from shop.accounts where id = 4',
      `update shop.remarks set body = 'changed' where id = 4`,
    ],
    [
      'a row of nobody that is put aside becomes the tenant’s again',
      'delete from shop.entries where account_id = 4; delete from shop.accounts where id = 4',
      'update shop.remarks set account_id = 3 where id = 4',
    ],
    ['the whole tenant is emptied', BUSY_DAMAGE, emptyTenant()],
  ])('%s: it looks again, and the tenant is as in the backup', async (_, damage, meanwhile) => {
    await other.run(damage)
    const { code, result } = await restore([between(meanwhile)])
    expect([code, result?.looks]).toEqual(['complete', 2])
    expect(await photograph()).toEqual(original)
  })

  test.each([
    [
      'a shared row that comes back rows point at is deleted',
      'delete from shop.entries where kind_id = $$sale$$',
      'delete from shop.kinds where id = $$sale$$',
      'missing_reference',
    ],
    [
      'a unique value that comes back is taken by another tenant',
      'delete from shop.entries where account_id = 4; delete from shop.accounts where id = 4',
      `insert into shop.accounts (id, tenant_id, label, code) values (108, 'beta', 'new', 'alpha4')`,
      'key_taken',
    ],
    [
      'a deferrable value that comes back is taken by another tenant',
      'delete from shop.slots where id = 6',
      `insert into shop.slots values (108, 'beta', 6)`,
      'key_taken',
    ],
    [
      'a key that comes back is taken by another tenant',
      'delete from shop.marks where id = 3',
      `insert into shop.marks values (3, 'beta', 'other')`,
      'key_taken',
    ],
  ])('%s: nothing is written, and it says why', async (_, damage, meanwhile, blocker) => {
    await trial.database.superuser.query(damage)
    const { code, error } = await restore([between(meanwhile)])
    expect(code).toBe('restore_blocked')
    expect(error?.details).toMatchObject({
      blockers: expect.arrayContaining([expect.objectContaining({ code: blocker })]),
    })
    const after = await photograph()
    await resetHost()
    await trial.database.superuser.query(`${damage}; ${meanwhile}`)
    expect(after).toEqual(await photograph())
  })

  test('a foreign key is added: rows that it would refuse are not written', async () => {
    const { admin } = trial.database
    await other.run(`update shop.marks set body = 'other'`)
    const before = await photograph()
    try {
      const { code, error } = await restore([
        between(`
          create table shop.bodies (body text primary key);
          insert into shop.bodies values ('other');
          alter table shop.marks add constraint marks_body foreign key (body) references shop.bodies (body)`),
      ])
      expect(code).toBe('restore_blocked')
      expect(error?.details).toMatchObject({
        blockers: [{ code: 'missing_reference', constraint: 'marks_body' }],
      })
      expect(await photograph()).toEqual(before)
    } finally {
      await admin.query('drop table if exists shop.bodies cascade')
    }
  })

  test('somebody writes every time: nothing is restored, and no safety backup is kept', async () => {
    await other.run(BUSY_DAMAGE)
    const write: Hook = {
      when: 'before',
      statement: ACT_BEGINS,
      act: async () =>
        void (await other.run(`update shop.marks set body = body || '!' where id = 3`)),
    }
    const since = await countBackups()
    const { code, database } = await restore([write])
    expect([code, database.acted]).toEqual(['tenant_changing', [3]])
    const after = await photograph()
    expect(after).toEqual(
      await originalWith(`${BUSY_DAMAGE}; update shop.marks set body = body || '!!!' where id = 3`),
    )
    expect(await countBackups()).toEqual({ ...since, cancelled: (since.cancelled ?? 0) + 3 })
    expect(await objectsOfNoBackup()).toEqual([])
    const { rows } = await trial.database.admin.query(
      `select status, error_code from public.backup_logs where backup_type = 'restore'
       order by created_at desc limit 1`,
    )
    expect(rows).toEqual([{ status: 'failed', error_code: 'tenant_changing' }])
  })

  test('what an approved plan would not have done is not done', async () => {
    await other.run(`update shop.marks set body = 'spoiled' where id = 3`)
    const { result: rehearsal } = await restore([], { isDryRun: true })
    const services = servicesOf(
      hookDatabase(trial.database.worker, [between('delete from shop.marks where id = 3')]),
      trial.store.store,
    )
    const work = restoreTenant(services, {
      tenantId: 'alpha',
      source: await openBackup(services, backup),
      isDryRun: false,
      options: RestoreOptions.parse(RESTORED),
      planHash: rehearsal?.planHash ?? '',
      actor: SYSTEM,
    })
    await expect(work).rejects.toMatchObject({ code: 'plan_stale' })
    const after = await photograph()
    expect(after).toEqual(await originalWith('delete from shop.marks where id = 3'))
  })
})

describe('writes in flight', () => {
  test('an insert that refers to the tenant’s row is waited for, and stays', async () => {
    await other.run(BUSY_DAMAGE)
    const insert = `insert into shop.accounts (id, tenant_id, label) values (9, 'alpha', 'in flight')`
    let committed: Promise<unknown> = Promise.resolve()
    const { code, result } = await restore([
      {
        when: 'before',
        statement: ROOT_LOCK,
        nth: 1,
        act: async () => {
          await other.run(`begin; ${insert}`)
          committed = other.waitUntilItBlocks().then(() => other.run('commit'))
        },
      },
    ])
    await committed
    expect([code, result?.looks]).toEqual(['complete', 1])
    expect(result?.tables.find(({ name }) => name === 'shop.accounts')?.warnings).toEqual([
      expect.stringMatching(/1 rows more than planned/),
    ])
    const after = await photograph()
    expect(after).toEqual(await originalWith(insert))
  })

  test('an insert into a table without a key to the tenant goes on, and stays', async () => {
    await other.run(BUSY_DAMAGE)
    const inserts = `insert into shop.marks values (9, 'alpha', 'in flight'); insert into shop.events values ('alpha', 'in flight')`
    const { code, result } = await restore([
      {
        when: 'before',
        statement: ROOT_LOCK,
        nth: 1,
        act: async () => void (await other.run(`begin; ${inserts}`)),
      },
      { when: 'before', statement: COMPLETION, act: async () => void (await other.run('commit')) },
    ])
    expect([code, result?.looks]).toEqual(['complete', 1])
    const after = await photograph()
    expect(after).toEqual(await originalWith(inserts))
  })

  test.each([
    [
      'a child of a row that goes',
      `insert into shop.accounts (id, tenant_id, label) values (8, 'alpha', 'new')`,
      `insert into shop.entries (account_id, note) values (8, 'late')`,
    ],
    [
      'the parent of a row that comes back, which goes',
      'delete from shop.entries where account_id = 3',
      'delete from shop.accounts where id = 3',
    ],
    [
      'a change of a row that is changed back',
      `update shop.marks set body = 'spoiled' where id = 3`,
      `update shop.marks set body = 'spoiled again' where id = 3`,
    ],
    [
      'a change of a row that goes',
      `insert into shop.marks values (8, 'alpha', 'new')`,
      `update shop.marks set body = 'newer' where id = 8`,
    ],
    [
      'the same row as one that comes back',
      'delete from shop.marks where id = 3',
      `insert into shop.marks values (3, 'alpha', 'other')`,
    ],
    [
      'a row without a key that goes, deleted',
      `insert into shop.events values ('alpha', 'new')`,
      `delete from shop.events where body = 'new'`,
    ],
    [
      'a unique value that comes back',
      'delete from shop.entries where account_id = 4; delete from shop.accounts where id = 4',
      `update shop.accounts set code = 'alpha4' where id = 3`,
    ],
  ])('%s: we wait for its commit, and look again', async (_, damage, meanwhile) => {
    await other.run(damage)
    let committed: Promise<unknown> = Promise.resolve()
    const { code, result } = await restore([
      {
        when: 'after',
        statement: ROOT_LOCK,
        nth: 1,
        act: async () => {
          await other.run(`begin; ${meanwhile}`)
          committed = other.waitUntilItBlocks().then(() => other.run('commit'))
        },
      },
    ])
    await committed
    expect([code, result?.looks]).toEqual(['complete', 2])
    expect(await photograph()).toEqual(original)
  })

  test('a change that is not committed in time makes us look again, and nobody waits for us', async () => {
    await other.run(`update shop.marks set body = 'spoiled' where id in (2, 3)`)
    const { code, result, database } = await restore([
      {
        when: 'after',
        statement: ROOT_LOCK,
        nth: 1,
        act: async () =>
          void (await other.run(`begin; update shop.marks set body = 'again' where id = 3`)),
      },
      // Once we gave way, all of it is free again.
      {
        when: 'after',
        statement: /^rollback$/,
        nth: 1,
        act: async () =>
          void (await other.run(`
            set local lock_timeout = 1;
            update shop.marks set body = 'again' where id = 2;
            insert into shop.accounts (id, tenant_id, label) values (9, 'alpha', 'newer');
            commit`)),
      },
    ])
    expect([code, result?.looks, database.acted]).toEqual(['complete', 2, [1, 1]])
    expect(await photograph()).toEqual(original)
  })

  test('in a tangle with the application’s own locks it is we who give way', async () => {
    await other.run(`update shop.marks set body = 'spoiled' where id = 3;
      update shop.accounts set label = 'spoiled' where id = 3`)
    // Nobody else looks for the deadlock, so it is not luck who ends it.
    await trial.database.superuser.query(`alter role postgres set deadlock_timeout = '1min'`)
    const application = await openOtherSession(trial.database)
    let blocked: { ended: Promise<string> } | undefined
    try {
      const { code, result } = await restore([
        {
          when: 'after',
          statement: ROOT_LOCK,
          nth: 1,
          act: async () =>
            void (await application.run(
              `begin; update shop.marks set body = 'again' where id = 3`,
            )),
        },
        {
          when: 'before',
          statement: /^update only shop\.marks|^update only "shop"\."marks"/,
          nth: 1,
          act: async () => {
            blocked = await application.startBlocked(
              `update shop.accounts set label = 'again' where id = 3`,
            )
          },
        },
        {
          when: 'after',
          statement: /^rollback$/,
          nth: 1,
          act: async () => {
            expect(await blocked?.ended).toBe('00000')
            await application.run('commit')
          },
        },
      ])
      expect([code, result?.looks]).toEqual(['complete', 2])
      expect(await photograph()).toEqual(original)
    } finally {
      await application.close()
      await trial.database.superuser.query('alter role postgres reset deadlock_timeout')
    }
  })
})

describe('after the proof', () => {
  test.each([
    ['a shared row that others point at', 'delete from shop.kinds where id = $$sale$$'],
    ['a row of the tenant', 'delete from shop.accounts where id = 3'],
  ])('%s can’t be deleted until the restore is committed, and then no more', async (_, removal) => {
    await trial.database.superuser.query(
      'delete from shop.entries where account_id = 3 or kind_id = $$sale$$',
    )
    let blocked: { ended: Promise<string> } | undefined
    const { code, result } = await restore([
      {
        when: 'before',
        statement: COMPLETION,
        act: async () => {
          blocked = await other.startBlocked(removal)
        },
      },
    ])
    expect(await blocked?.ended).toBe('23503')
    expect([code, result?.looks]).toEqual(['complete', 1])
  })

  test('a child of a row that went can’t come until the restore is committed, and then no more', async () => {
    await other.run(`insert into shop.accounts (id, tenant_id, label) values (8, 'alpha', 'new')`)
    let blocked: { ended: Promise<string> } | undefined
    const { code } = await restore([
      {
        when: 'before',
        statement: COMPLETION,
        act: async () => {
          blocked = await other.startBlocked(
            `insert into shop.entries (account_id, note) values (8, 'late')`,
          )
        },
      },
    ])
    expect([code, await blocked?.ended]).toEqual(['complete', '23503'])
    expect(await photograph()).toEqual(original)
  })

  test('a value that can be deferred can’t be taken until the restore is committed, and then no more', async () => {
    await other.run('delete from shop.slots where id = 6')
    let blocked: { ended: Promise<string> } | undefined
    const { code } = await restore([
      {
        when: 'before',
        statement: COMPLETION,
        act: async () => {
          blocked = await other.startBlocked(`insert into shop.slots values (108, 'beta', 6)`)
        },
      },
    ])
    expect([code, await blocked?.ended]).toEqual(['complete', '23505'])
    expect(await photograph()).toEqual(original)
  })
})

describe('an open insert into a table with a deferrable constraint', () => {
  const openInsert = (ending: 'commit' | 'rollback' | undefined) => {
    const after: { ended: Promise<unknown> } = { ended: Promise.resolve() }
    const hook: Hook = {
      when: 'before',
      statement: LOCK_OF_DEFERRABLE,
      nth: 1,
      act: async () => {
        await other.run(`begin; insert into shop.slots values (108, 'beta', 6)`)
        if (ending === undefined) return
        after.ended = other.waitUntilItBlocks().then(() => other.run(ending))
      },
    }
    return { hook, after }
  }

  test('is waited for, and does not matter where it is taken back', async () => {
    await other.run('delete from shop.slots where id = 6')
    const { hook, after } = openInsert('rollback')
    const { code, result } = await restore([hook])
    await after.ended
    expect([code, result?.looks]).toEqual(['complete', 1])
    expect(await photograph()).toEqual(original)
  })

  test('that is being committed and waits for us makes us give way, and look again', async () => {
    await other.run('delete from shop.slots where id = 6')
    // Nobody else looks for the deadlock, so it is not luck who ends it.
    await trial.database.superuser.query(`alter role postgres set deadlock_timeout = '1min'`)
    const application = await openOtherSession(trial.database)
    let blocked: { ended: Promise<string> } | undefined
    try {
      const { code, error, database } = await restore([
        {
          when: 'before',
          statement: LOCK_OF_DEFERRABLE,
          nth: 1,
          act: async () => {
            await application.run(`begin; insert into shop.slots values (108, 'beta', 6)`)
            blocked = await application.startBlocked('commit')
          },
        },
        {
          when: 'after',
          statement: /^rollback$/,
          nth: 1,
          act: async () => expect(await blocked?.ended).toBe('00000'),
        },
      ])
      expect([
        code,
        database.statements.filter((sql) => LOCK_OF_DEFERRABLE.test(sql)).length,
      ]).toEqual(['restore_blocked', 1])
      expect(error?.details).toMatchObject({
        blockers: [{ code: 'key_taken', table: 'shop.slots' }],
      })
    } finally {
      await application.close()
      await trial.database.superuser.query('alter role postgres reset deadlock_timeout')
    }
  })

  test('that was checked before we wrote is waited for, and seen where it is committed', async () => {
    await other.run('delete from shop.slots where id = 6')
    let committed: Promise<unknown> = Promise.resolve()
    const { code, error } = await restore([
      {
        when: 'after',
        statement: ROOT_LOCK,
        nth: 1,
        act: async () =>
          void (await other.run(`
            begin; insert into shop.slots values (108, 'beta', 6); set constraints all immediate`)),
      },
      {
        when: 'before',
        statement: LOCK_OF_DEFERRABLE,
        nth: 1,
        act: async () => {
          committed = other.waitUntilItBlocks().then(() => other.run('commit'))
        },
      },
    ])
    await committed
    expect(code).toBe('restore_blocked')
    expect(error?.details).toMatchObject({ blockers: [{ code: 'key_taken', table: 'shop.slots' }] })
  })

  test('that stays open ends the restore with table_busy, and nothing is written', async () => {
    await other.run(BUSY_DAMAGE)
    const before = await photograph()
    const { hook } = openInsert(undefined)
    const { code, error } = await restore([hook])
    await other.run('rollback')
    expect(code).toBe('table_busy')
    expect(error?.details).toEqual({ tables: ['shop.slots'] })
    expect(await photograph()).toEqual(before)
    expect(await objectsOfNoBackup()).toEqual([])
  })
})

describe('who waits', () => {
  /** What can be done at once and what would have to wait, without anything being left of it. */
  const waitsFor = async (sql: string) => {
    await other.run('begin; set local lock_timeout = 1')
    const state = await other.stateOf(sql)
    await other.run('rollback')
    return state === '55P03' ? 'waits' : state === '00000' ? 'goes on' : state
  }
  const READS = ['tenants', 'accounts', 'entries', 'remarks', 'slots', 'marks', 'events'].map(
    (name) => `select * from shop.${name}`,
  )
  const OTHERS = [
    `insert into shop.accounts (tenant_id, label, code) values ('beta', 'new', 'fresh')`,
    `insert into shop.entries (account_id, kind_id, note) values (103, 'sale', 'new')`,
    `insert into shop.marks values (109, 'beta', 'new')`,
    `insert into shop.events values ('beta', 'new')`,
    `update shop.accounts set label = 'changed' where tenant_id = 'beta'`,
    `update shop.tenants set name = 'changed' where id = 'beta'`,
    `delete from shop.entries where account_id between 101 and 106`,
    `insert into shop.kinds values ('loan')`,
    `update shop.remarks set account_id = null where id = 104`,
    `insert into shop.tenants values ('gamma', 'Gamma')`,
  ]
  const OTHERS_DEFERRABLE = [
    `insert into shop.slots values (109, 'beta', 109)`,
    `update shop.slots set place = 110 where id = 106`,
    `delete from shop.slots where id = 106`,
  ]
  const INSERTS_OF_ROOT = [
    `insert into shop.accounts (id, tenant_id, label) values (9, 'alpha', 'new')`,
    `insert into shop.slots values (9, 'alpha', 9)`,
  ]
  const ON_OTHER_ROWS = [
    `insert into shop.entries (account_id, kind_id, note) values (3, 'sale', 'new')`,
    `update shop.accounts set label = 'changed' where id = 3`,
    `update shop.marks set body = 'changed' where id = 1`,
    `delete from shop.entries where id = 31`,
    `insert into shop.marks values (9, 'alpha', 'new')`,
    `insert into shop.events values ('alpha', 'new')`,
  ]
  const each = async (statements: readonly string[]) => {
    const found = new Set<string>()
    for (const sql of statements) found.add(await waitsFor(sql))
    return [...found]
  }

  test('readers never do; others’ writers only for a table that can be deferred, in the end', async () => {
    await other.run(BUSY_DAMAGE)
    const seen: Record<string, string[]> = {}
    const at = (name: string, statement: RegExp, when: Hook['when'] = 'before', nth = 1): Hook => ({
      when,
      statement,
      nth,
      act: async () => {
        seen[`${name}: readers`] = await each(READS)
        seen[`${name}: other tenants`] = await each(OTHERS)
        seen[`${name}: other tenants, deferrable`] = await each(OTHERS_DEFERRABLE)
        seen[`${name}: inserts of the root`] = await each(INSERTS_OF_ROOT)
        seen[`${name}: other rows of the tenant`] = await each(ON_OTHER_ROWS)
      },
    })
    const { code } = await restore([
      at('look', LOOK_ENDS),
      at('plan', LOOK_ENDS, 'before', 2),
      at('root', ROOT_LOCK, 'after'),
      at('written', /hold_references/),
      at('proven', LOCK_OF_DEFERRABLE),
      at('held', COMPLETION),
    ])
    expect(code).toBe('complete')
    const free = (name: string) => ({
      [`${name}: readers`]: ['goes on'],
      [`${name}: other tenants`]: ['goes on'],
      [`${name}: other tenants, deferrable`]: ['goes on'],
      [`${name}: inserts of the root`]: ['goes on'],
      [`${name}: other rows of the tenant`]: ['goes on'],
    })
    const writing = (name: string) => ({
      ...free(name),
      [`${name}: inserts of the root`]: ['waits'],
    })
    expect(seen).toEqual({
      ...free('look'),
      ...free('plan'),
      ...writing('root'),
      ...writing('written'),
      ...writing('proven'),
      ...writing('held'),
      'held: other tenants, deferrable': ['waits'],
    })
    expect(await photograph()).toEqual(original)
  })

  test('a dry run holds nothing that others need, except the tenant’s row while it tries', async () => {
    await other.run(BUSY_DAMAGE)
    const before = await photograph()
    const seen: Record<string, string[]> = {}
    const { code, result } = await restore(
      [
        {
          when: 'before',
          statement: /^rollback$/,
          act: async () => {
            seen.readers = await each(READS)
            seen.others = await each([...OTHERS, ...OTHERS_DEFERRABLE])
            seen.root = await each(INSERTS_OF_ROOT)
          },
        },
        {
          when: 'after',
          statement: /^rollback$/,
          act: async () => {
            seen.all = await each([
              ...READS,
              ...OTHERS,
              ...OTHERS_DEFERRABLE,
              ...INSERTS_OF_ROOT,
              ...ON_OTHER_ROWS,
            ])
          },
        },
      ],
      { isDryRun: true },
    )
    expect([code, result?.blockers]).toEqual(['complete', []])
    expect(seen).toEqual({
      readers: ['goes on'],
      others: ['goes on'],
      root: ['waits'],
      all: ['goes on'],
    })
    expect(await photograph()).toEqual(before)
  })

  test('other tenants’ writes during a restore are kept, at every step of it', async () => {
    await other.run(BUSY_DAMAGE)
    let written = 0
    const { code } = await restore([
      {
        when: 'before',
        statement: /^(?!lock table)/,
        act: async () => {
          written += 1
          await other.run(`
            set lock_timeout = 1;
            update shop.accounts set label = label || '.' where tenant_id = 'beta';
            insert into shop.marks values (${1000 + written}, 'beta', 'meanwhile');
            reset lock_timeout`)
        },
      },
    ])
    expect(code).toBe('complete')
    expect(written).toBeGreaterThan(100)
    const after = await photograph()
    expect(after).toEqual(
      await originalWith(`
        update shop.accounts set label = label || repeat('.', ${written}) where tenant_id = 'beta';
        insert into shop.marks select 1000 + i, 'beta', 'meanwhile' from generate_series(1, ${written}) i`),
    )
  })
})

describe('several at once', () => {
  const services = () => servicesOf(trial.database.worker, trial.store.store)
  const codeOf = (work: Promise<unknown>) =>
    work.then(
      () => 'complete',
      (error: unknown) => (error instanceof BackupError ? error.code : String(error)),
    )
  const backUp = (tenantId: string) =>
    codeOf(takeBackup(services(), { tenantId, backupType: 'manual', actor: SYSTEM }))

  test('a tenant that is restored is neither backed up, restored nor undone; another one is', async () => {
    const beta = await takeBackup(services(), {
      tenantId: 'beta',
      backupType: 'manual',
      actor: SYSTEM,
    })
    await other.run(`update shop.marks set body = 'spoiled' where id = 3`)
    const { result: first } = await restore([])
    await other.run(`update shop.marks set body = 'spoiled' where id in (3, 103)`)
    const codes: string[] = []
    const act = async () => {
      codes.push(await backUp('alpha'))
      codes.push((await restore([])).code)
      codes.push((await restore([], { isDryRun: true })).code)
      codes.push((await undo([], { restoreId: first?.restoreId ?? '' })).code)
      codes.push(await backUp('beta'))
      codes.push((await restore([], { of: beta.backup })).code)
    }
    const { code } = await restore([
      { when: 'before', statement: LOOK_ENDS, nth: 1, act },
      { when: 'before', statement: COMPLETION, act },
    ])
    const once = [
      'tenant_busy',
      'tenant_busy',
      'tenant_busy',
      'tenant_busy',
      'complete',
      'complete',
    ]
    expect([code, codes]).toEqual(['complete', [...once, ...once]])
    expect(await photograph()).toEqual(original)
  })

  test('a backup keeps a restore out, and the restore that waits for it is done after it', async () => {
    await other.run(`update shop.marks set body = 'spoiled' where id = 3`)
    const codes: string[] = []
    let waiting: Promise<Outcome> | undefined
    const database = hookDatabase(trial.database.worker, [
      {
        when: 'before',
        statement: LOOK_ENDS,
        nth: 1,
        act: async () => {
          codes.push((await restore([])).code)
          waiting = restore([], { waitMs: 30_000 })
        },
      },
    ])
    const { backup: taken } = await takeBackup(servicesOf(database, trial.store.store), {
      tenantId: 'alpha',
      backupType: 'manual',
      actor: SYSTEM,
    })
    expect([taken.status, codes, (await waiting)?.code]).toEqual([
      'complete',
      ['tenant_busy'],
      'complete',
    ])
    expect(await photograph()).toEqual(original)
  })

  test('two restores that wait for each other: the second finds nothing left to do', async () => {
    await other.run(BUSY_DAMAGE)
    const [one, two] = await Promise.all([
      restore([], { waitMs: 30_000 }),
      restore([], { waitMs: 30_000 }),
    ])
    expect([one.code, two.code]).toEqual(['complete', 'complete'])
    const written = [one, two].map(({ result }) =>
      (result?.tables ?? []).reduce((sum, t) => sum + t.inserted + t.updated + t.deleted, 0),
    )
    expect(Math.min(...written)).toBe(0)
    expect(await photograph()).toEqual(original)
  })

  test('two tenants that need the same table’s lock in the end do not end each other', async () => {
    const beta = await takeBackup(services(), {
      ...{ tenantId: 'beta', backupType: 'manual', actor: SYSTEM },
    })
    await other.run('update shop.slots set place = -place where id in (3, 103)')
    const both = Promise.withResolvers<void>()
    let arrived = 0
    // Both have written by now, so neither gets the lock before the other has given way.
    const meet: Hook = {
      when: 'before',
      statement: LOCK_OF_DEFERRABLE,
      nth: 1,
      act: async () => {
        arrived += 1
        if (arrived === 2) both.resolve()
        await both.promise
      },
    }
    const outcomes = await Promise.all([restore([meet]), restore([meet], { of: beta.backup })])
    expect(outcomes.map(({ code }) => code)).toEqual(['complete', 'complete'])
    expect(await photograph()).toEqual(original)
  })

  test('among writers of both tenants, every write is kept, or is among the rows that went', async () => {
    const isOver = { value: false }
    const written = await Promise.all([
      restoreRepeatedly(4).finally(() => {
        isOver.value = true
      }),
      writeUntil(isOver, 'alpha', 1_000),
      writeUntil(isOver, 'beta', 100_000),
    ])
    const [amongWriters, ...writers] = written
    const last = await restore([])
    expect(last.code).toBe('complete')
    const outcomes = [...amongWriters, last]
    // The third time that somebody wrote in between, it may also say what it was.
    const allowed = ['complete', 'restore_blocked', 'table_busy', 'tenant_changing']
    for (const { code } of outcomes) expect(allowed).toContain(code)
    const left = await countNewer()
    for (const table of ['accounts', 'entries', 'marks', 'events'] as const) {
      const countOf = (tenant: string) =>
        writers.reduce((sum, writer) => sum + (writer.tenant === tenant ? writer[table] : 0), 0)
      const gone = outcomes
        .flatMap(({ result }) => result?.tables ?? [])
        .filter(({ name }) => name === `shop.${table}`)
        .reduce((sum, { deleted }) => sum + deleted, 0)
      expect(left[`beta ${table}`], table).toBe(countOf('beta'))
      expect((left[`alpha ${table}`] ?? 0) + gone, table).toBe(countOf('alpha'))
    }
  })

  test('two undos of one restore: it is undone once', async () => {
    await other.run(BUSY_DAMAGE)
    const damaged = await photograph()
    const { result } = await restore([])
    const restoreId = result?.restoreId ?? ''
    const both = await Promise.all([
      undo([], { restoreId, waitMs: 30_000 }),
      undo([], { restoreId, waitMs: 30_000 }),
    ])
    expect(both.map(({ code }) => code).sort()).toEqual(['complete', 'undo_impossible'])
    expect(await photograph()).toEqual(damaged)
  })

  test('an undo looks again where somebody wrote meanwhile, and takes back only what nobody changed', async () => {
    await other.run(BUSY_DAMAGE)
    const { result } = await restore([])
    const { code, result: undone } = await undo(
      [between(`update shop.accounts set label = 'late' where id = 1`)],
      { restoreId: result?.restoreId ?? '', onConflict: 'keep' },
    )
    expect([code, undone?.looks]).toEqual(['complete', 2])
    const after = await photograph()
    expect(after).toEqual(
      await originalWith(`${BUSY_DAMAGE}; update shop.accounts set label = 'late' where id = 1`),
    )
  })
})

async function restoreRepeatedly(times: number): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  for (let done = 0; done < times; done += 1) outcomes.push(await restore([]))
  return outcomes
}

/** Inserts rows until it is over; returns how many stayed by table, as far as the writer was told. */
async function writeUntil(isOver: { value: boolean }, tenant: string, firstId: number) {
  const session = await openOtherSession(trial.database)
  const count = { tenant, accounts: 0, entries: 0, marks: 0, events: 0 }
  const insert = async (table: 'accounts' | 'entries' | 'marks' | 'events', values: string) => {
    const state = await session.stateOf(`insert into shop.${table} ${values}`)
    // A parent may be gone with a restore.
    expect(table === 'entries' ? ['00000', '23503'] : ['00000']).toContain(state)
    if (state === '00000') count[table] += 1
  }
  for (let id = firstId; !isOver.value; id += 1) {
    await insert('accounts', `(id, tenant_id, label) values (${id}, '${tenant}', 'new')`)
    await insert('entries', `(account_id, note) values (${id}, 'new')`)
    await insert('entries', `(account_id, note) values (${tenant === 'alpha' ? 3 : 103}, 'new')`)
    await insert('marks', `values (${id}, '${tenant}', 'new')`)
    await insert('events', `values ('${tenant}', 'new ${id}')`)
  }
  await session.close()
  return count
}

/** By tenant and table, rows that are not in the backup. */
async function countNewer(): Promise<Record<string, number>> {
  const owned = {
    accounts: 'select tenant_id, id::text as key from shop.accounts where id > 200',
    entries: `select a.tenant_id, e.id::text from shop.entries e join shop.accounts a on a.id = e.account_id
      where e.note = 'new'`,
    marks: 'select tenant_id, id::text from shop.marks where id > 200',
    events: `select tenant_id, body from shop.events where body like 'new%'`,
  }
  const queries = Object.entries(owned).map(
    ([table, sql]) =>
      `select tenant_id || ' ${table}' as name, count(*) from (${sql}) q group by 1`,
  )
  const { rows } = await trial.database.superuser.query<{ name: string; count: string }>(
    queries.join(' union all '),
  )
  return Object.fromEntries(rows.map(({ name, count }) => [name, Number(count)]))
}

function emptyTenant(): string {
  return `
    delete from shop.entries where account_id < 100;
    delete from shop.remarks where id < 100;
    delete from shop.accounts where tenant_id = 'alpha';
    delete from shop.slots where tenant_id = 'alpha';
    delete from shop.marks where tenant_id = 'alpha';
    delete from shop.events where tenant_id = 'alpha';
    delete from shop.tenants where id = 'alpha'`
}

async function countBackups(): Promise<Record<string, number>> {
  const { rows } = await trial.database.admin.query<{ status: string; count: string }>(
    'select status, count(*) from public.tenant_backups group by 1',
  )
  return Object.fromEntries(rows.map(({ status, count }) => [status, Number(count)]))
}

/** Objects in the store that carry the stamp of no complete backup. */
async function objectsOfNoBackup(): Promise<string[]> {
  const { rows } = await trial.database.admin.query<{ stamp: string }>(
    `select object_stamp as stamp from public.tenant_backups where status = 'complete'`,
  )
  const objects = await trial.store.store.list('tenant-backups/')
  return objects
    .map(({ path }) => path)
    .filter((path) => !rows.some(({ stamp }) => path.includes(stamp)))
}
