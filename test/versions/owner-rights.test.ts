import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { initialiseProtection } from '../../src/core/tables/initialise-protection.ts'
import { runScript } from '../../src/local/hosted-shape.ts'
import { OTHER_VERSIONS, OWN_VERSION } from '../../src/local/postgres.ts'
import { startVersion, type VersionCluster } from '../support/version-cluster.ts'

const HOST = `
  create table teams (id int primary key, name text);
  create table notes (id int primary key, team_id int not null references teams);
  alter table teams enable row level security;
  alter table notes enable row level security;
`
const OPTIONS = { tenantTable: 'public.teams', tenantColumns: ['team_id'] }
const isPackaged = process.platform === 'linux' && process.arch === 'x64'

describe.each([OWN_VERSION, ...OTHER_VERSIONS] as const)('an owner on Postgres %i', (version) => {
  const other = OTHER_VERSIONS.find((candidate) => candidate === version)
  let cluster: VersionCluster

  beforeAll(async () => {
    if (other !== undefined && !isPackaged) return
    cluster = await startVersion(other)
  })
  afterAll(() => cluster?.stop())

  const on = it.skipIf(other !== undefined && !isPackaged)

  on.each([
    ['neither createrole nor bypassrls', 'nocreaterole nobypassrls', ['createrole', 'bypassrls']],
    ['no createrole', 'nocreaterole bypassrls', ['createrole']],
    ['no bypassrls', 'createrole nobypassrls', ['bypassrls']],
  ])(
    'with %s is told what is missing, and what a superuser has to run',
    async (_, attributes, missing) => {
      const name = `owner ${attributes}`
      const owner = await cluster.createOwner({ name, attributes })
      await runScript(owner.url, HOST)
      const statements = missing.map((attribute) => `alter role "${name}" ${attribute}`)

      await expect(initialiseProtection(owner.database, OPTIONS)).rejects.toMatchObject({
        code: 'not_configured',
        details: { statements },
      })
      const { rows } = await owner.database.query(`select to_regnamespace('tenantkeep') as ours`)
      expect(rows).toEqual([{ ours: null }])

      await runScript(cluster.superuserUrl(), statements.join(';'))
      expect(await initialiseProtection(owner.database, OPTIONS)).toMatchObject({ isApplied: true })
      await runScript(
        cluster.superuserUrl(name),
        `drop schema tenantkeep, tenantkeep_jobs cascade; drop table notes, teams, public.backup_logs, public.tenant_backups;
       drop owned by tenantkeep_worker, tenantkeep_operator;
       drop role tenantkeep_worker, tenantkeep_operator; drop role if exists tenantkeep_scope`,
      )
    },
  )

  on('may look, with --dry-run, without any right', async () => {
    const owner = await cluster.createOwner({ name: 'looker', attributes: 'nocreaterole' })
    await runScript(owner.url, HOST)
    const report = await initialiseProtection(owner.database, { ...OPTIONS, dryRun: true })
    expect(report.tables.map(({ name }) => name)).toEqual(['teams', 'notes'])
  })
})
