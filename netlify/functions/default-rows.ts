import {
  deleteDefaultRow,
  insertDefaultRow,
  listDefaultTables,
  readDefaultRows,
  saveDefaultRow,
} from '../../src/core/defaults/default-rows.ts'
import {
  answerChange,
  DefaultRowsInput,
  describeDefaultRows,
  describeDefaultTables,
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
  allow: ['cron', 'operator', 'user'],
  async run({ services, caller, input, requestId }) {
    await requireOperator(services.tenants.catalog, caller, {
      type: 'defaults',
      scope: { action: input.action, table: 'table' in input ? input.table : null },
    })
    const { actor } = caller
    switch (input.action) {
      case 'tables':
        return { status: 200, body: describeDefaultTables(await listDefaultTables(services)) }
      case 'list': {
        const { table, search, cursor: offset, limit } = input
        const page = await readDefaultRows(services, { table, search, offset, limit })
        return { status: 200, body: describeDefaultRows(page) }
      }
      case 'insert':
        return answerChange(
          await insertDefaultRow(services, {
            ...{ ...input, note: input.note ?? null, actor },
            idempotencyKey: input.idempotency_key,
          }),
          input.values,
          requestId,
        )
      case 'save':
        return answerChange(
          await saveDefaultRow(services, { ...input, note: input.note ?? null, actor }),
          input.values,
          requestId,
        )
      case 'delete':
        return answerChange(
          await deleteDefaultRow(services, { ...input, note: input.note ?? null, actor }),
          {},
          requestId,
        )
    }
  },
})
