import { join, resolve } from 'node:path'
import * as z from 'zod'
import { LEAST_ROWS } from '../../supabase/demo/plan-rows.ts'
import { REPOSITORY } from './migrations.ts'

const port = (byDefault: number) => z.coerce.number().int().min(1).max(65_535).default(byDefault)

/** What can be moved, and by which variable of the environment. */
const Variables = z.object({
  TENANTKEEP_APP_PORT: port(8888),
  TENANTKEEP_API_PORT: port(54321),
  TENANTKEEP_DB_PORT: port(54322),
  TENANTKEEP_LOCAL_FOLDER: z.string().default(join(REPOSITORY, '.local')),
  TENANTKEEP_BUILT_PAGE: z.stringbool().default(false),
  TENANTKEEP_DEMO_ROWS: z.coerce.number().int().min(LEAST_ROWS).default(15_000),
})

export interface StackSettings {
  ports: Record<PortName, number>
  /** Data, secrets and `stack.env`; one stack at a time works in it. */
  folder: string
  /** Builds the page once instead of serving each of its files as it is: slower to start, quicker to open. */
  isPageBuilt: boolean
  /** Rows of the demonstration's largest tenant, when it is loaded; the others have fewer in proportion. */
  demoRows: number
}

export type PortName = 'app' | 'api' | 'database'

export const PORTS: Record<PortName, { variable: string; what: string }> = {
  app: { variable: 'TENANTKEEP_APP_PORT', what: 'the page and the functions' },
  api: { variable: 'TENANTKEEP_API_PORT', what: 'the Supabase API' },
  database: { variable: 'TENANTKEEP_DB_PORT', what: 'Postgres' },
}

/** Reads where the stack lives. Throws with the variable's name where a value makes no sense. */
export function readStackSettings(env: Record<string, string | undefined>): StackSettings {
  const read = Variables.safeParse(env)
  if (!read.success) {
    const names = [...new Set(read.error.issues.map((issue) => issue.path.join('.')))].join(', ')
    throw new Error(
      `${names} makes no sense: ports are numbers between 1 and 65535, TENANTKEEP_BUILT_PAGE is true or false, TENANTKEEP_DEMO_ROWS is ${LEAST_ROWS} or more.`,
    )
  }
  return {
    ports: {
      app: read.data.TENANTKEEP_APP_PORT,
      api: read.data.TENANTKEEP_API_PORT,
      database: read.data.TENANTKEEP_DB_PORT,
    },
    folder: resolve(read.data.TENANTKEEP_LOCAL_FOLDER),
    isPageBuilt: read.data.TENANTKEEP_BUILT_PAGE,
    demoRows: read.data.TENANTKEEP_DEMO_ROWS,
  }
}
