import { describe, expect, test } from 'vitest'
import { decideState, type StateFacts } from '../../../src/core/tenants/decide-state.ts'

const NOW = new Date('2026-11-20T12:00:00Z')
const hoursAgo = (hours: number) => new Date(NOW.getTime() - hours * 3_600_000).toISOString()

const BACKUP = { takenAt: hoursAgo(3), createdAt: hoursAgo(3), verifiedAt: hoursAgo(2), gaps: [] }
const COMPLETE = { status: 'complete', createdAt: hoursAgo(3), errorMessage: null } as const
const FAILED = { status: 'failed', createdAt: hoursAgo(1), errorMessage: 'No space left.' } as const
const SAFE: StateFacts = {
  now: NOW,
  running: null,
  skip: null,
  newestBackup: BACKUP,
  newestAttempt: COMPLETE,
  damage: null,
}
const decide = (changes: Partial<StateFacts>) => decideState({ ...SAFE, ...changes })

describe('the state of a tenant', () => {
  test('is verified where nothing else is true', () => {
    expect(decide({})).toEqual({ code: 'verified', reason: null, since: BACKUP.verifiedAt })
  })

  test.each<[string, Partial<StateFacts>, object]>([
    [
      'running',
      { running: { kind: 'backup', startedAt: hoursAgo(0) } },
      { reason: null, since: hoursAgo(0) },
    ],
    [
      'restoring',
      { running: { kind: 'undo', startedAt: hoursAgo(0) } },
      { reason: null, since: hoursAgo(0) },
    ],
    [
      'paused',
      { skip: { reason: 'Contract ended', since: hoursAgo(90) } },
      { reason: 'Contract ended', since: hoursAgo(90) },
    ],
    ['none', { newestBackup: null, newestAttempt: null }, { reason: null, since: null }],
    [
      'none',
      { newestBackup: null, newestAttempt: FAILED },
      { reason: 'No space left.', since: hoursAgo(1) },
    ],
    [
      'damaged',
      { damage: { foundAt: hoursAgo(1), reason: 'A file is gone.' } },
      { reason: 'A file is gone.', since: hoursAgo(1) },
    ],
    [
      'overdue',
      { newestBackup: { ...BACKUP, takenAt: hoursAgo(26.1) } },
      { reason: null, since: hoursAgo(26.1) },
    ],
    ['last_failed', { newestAttempt: FAILED }, { reason: 'No space left.', since: hoursAgo(1) }],
    [
      'gaps',
      { newestBackup: { ...BACKUP, gaps: ['public.drafts', 'public.ideas'] } },
      { reason: 'public.drafts, public.ideas', since: BACKUP.takenAt },
    ],
    [
      'unverified',
      { newestBackup: { ...BACKUP, verifiedAt: null } },
      { reason: null, since: BACKUP.takenAt },
    ],
  ])('is %s', (code, changes, rest) => {
    expect(decide(changes)).toEqual({ code, ...rest })
  })

  test('is not overdue within two hours of slack', () => {
    expect(decide({ newestBackup: { ...BACKUP, takenAt: hoursAgo(25.9) } }).code).toBe('verified')
  })

  test('is the worst that is true, and what runs goes first', () => {
    const worst: Partial<StateFacts> = {
      newestBackup: { ...BACKUP, takenAt: hoursAgo(40), gaps: ['public.drafts'], verifiedAt: null },
      newestAttempt: FAILED,
    }
    const damage = { foundAt: hoursAgo(1), reason: 'A file is gone.' }
    const running = { kind: 'restore', startedAt: hoursAgo(0) } as const

    expect(decide(worst)).toMatchObject({ code: 'overdue', reason: 'No space left.' })
    expect(decide({ ...worst, damage }).code).toBe('damaged')
    expect(decide({ ...worst, damage, skip: { reason: 'x', since: null } }).code).toBe('paused')
    expect(decide({ ...worst, damage, running }).code).toBe('restoring')
  })
})
