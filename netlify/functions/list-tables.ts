import * as z from 'zod'
import { listTables } from '../../src/core/tables/list-tables.ts'
import { handle } from '../../src/http/handle.ts'
import { describeTables } from '../../src/http/table-answers.ts'

/** The registry for operators: every table of the host, whose rows it holds, and what doctor says of it. */
export default handle({
  name: 'list-tables',
  methods: ['GET', 'POST'],
  input: z.strictObject({}),
  allow: ['operator'],
  async run({ services }) {
    return { status: 200, body: describeTables(await listTables(services.tenants.catalog)) }
  },
})
