import type { Queryable } from '../database/database.ts'

/**
 * Runs the callback as the worker, who may call what looks past row level security, and becomes the operator
 * again. Where it throws the transaction is over, and the role with it.
 */
export async function asWorker<T>(session: Queryable, use: () => Promise<T>): Promise<T> {
  await session.query('reset role')
  const result = await use()
  await session.query('set local role tenantkeep_operator')
  return result
}
