import { describe, expect, test } from 'vitest'
import { DEFAULT_RETRY, type RetryPolicy, retry } from '../../../src/core/store/retry.ts'

function policy(overrides: Partial<RetryPolicy> = {}) {
  const pauses: number[] = []
  const sleep = async (ms: number) => {
    pauses.push(ms)
  }
  return { pauses, policy: { ...DEFAULT_RETRY, sleep, random: () => 0, ...overrides } }
}

describe('trying again', () => {
  test('doubles the pauses up to a longest one and throws the last error', async () => {
    const { pauses, policy: rules } = policy({ attempts: 6, baseMs: 100, maxMs: 500 })
    const failing = retry(
      async (attempt) => {
        throw new Error(`attempt ${attempt}`)
      },
      () => true,
      rules,
    )
    await expect(failing).rejects.toThrow('attempt 6')
    expect(pauses).toEqual([25, 50, 100, 125, 125])
  })

  test('spreads the pauses', async () => {
    const { pauses, policy: rules } = policy({ attempts: 3, baseMs: 100, random: () => 0.999 })
    await retry(
      async (attempt) => {
        if (attempt < 3) throw new Error('again')
      },
      () => true,
      rules,
    )
    expect(pauses.every((ms, i) => ms > 99 * 2 ** i && ms <= 100 * 2 ** i)).toBe(true)
  })

  test('does not try again what will not pass', async () => {
    const { pauses, policy: rules } = policy()
    const failing = retry(
      async () => Promise.reject(new Error('no')),
      () => false,
      rules,
    )
    await expect(failing).rejects.toThrow('no')
    expect(pauses).toEqual([])
  })

  test('stops waiting when it is told to, with the reason given', async () => {
    const stop = new AbortController()
    const reason = new Error('enough')
    const waiting = retry(
      async () => {
        setTimeout(() => stop.abort(reason), 5)
        throw new Error('again')
      },
      () => true,
      { ...DEFAULT_RETRY, baseMs: 60_000, maxMs: 60_000 },
      stop.signal,
    )
    await expect(waiting).rejects.toBe(reason)
  })
})
