import {
  type DefaultChange,
  type DefaultValues,
  deleteDefaultRow,
  insertDefaultRow,
  listDefaultTables,
  readDefaultRows,
  saveDefaultRow,
} from '../../src/core/defaults/default-rows.ts'
import { recordingRefusal, recordRefusal } from '../../src/core/tenants/record-refusal.ts'
import {
  answerConflict,
  DefaultRowsInput,
  describeAttempt,
  describeDefaultRows,
  describeDefaultTables,
  rowChanged,
} from '../../src/http/default-answers.ts'
import { handle } from '../../src/http/handle.ts'
import { requireOperator } from '../../src/http/tenant-answers.ts'

/**
 * The rows of the template tenant, for operators: its tables, a page of rows, and one row added, saved or
 * deleted. A row that somebody else changed meanwhile answers 409 with both versions.
 */
export default handle({
  name: 'default-rows',
  methods: ['POST'],
  input: DefaultRowsInput,
  journal: 'defaults',
  allow: ['cron', 'operator', 'user'],
  async run({ services, caller, input, requestId }) {
    const { catalog } = services.tenants
    const { actor } = caller
    const attempt = { type: 'defaults' as const, ...describeAttempt(input) }
    await requireOperator(catalog, caller, attempt)
    const change = async (work: () => Promise<DefaultChange>, sent: DefaultValues = {}) => {
      const refusal = { ...attempt, actor, tenantId: null }
      const changed = await recordingRefusal(catalog, refusal, work)
      if (changed.isSaved) return { status: 200, body: { success: true, row: changed.row } }
      const error = rowChanged(changed)
      await recordRefusal(catalog, { ...refusal, error })
      return answerConflict(changed, { error, sent, requestId })
    }
    switch (input.action) {
      case 'tables':
        return { status: 200, body: describeDefaultTables(await listDefaultTables(services)) }
      case 'list': {
        const { table, search, cursor: offset, limit } = input
        const page = await readDefaultRows(services, { table, search, offset, limit })
        return { status: 200, body: describeDefaultRows(page) }
      }
      case 'insert':
        return change(
          () =>
            insertDefaultRow(services, {
              ...{ ...input, note: input.note ?? null, actor },
              idempotencyKey: input.idempotency_key,
            }),
          input.values,
        )
      case 'save':
        return change(
          () => saveDefaultRow(services, { ...input, note: input.note ?? null, actor }),
          input.values,
        )
      case 'delete':
        return change(() =>
          deleteDefaultRow(services, { ...input, note: input.note ?? null, actor }),
        )
    }
  },
})
