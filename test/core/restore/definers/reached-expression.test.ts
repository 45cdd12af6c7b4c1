import { expect, it } from 'vitest'
import { initialiseProtection } from '../../../../src/core/tables/initialise-protection.ts'
import { withDatabase } from '../../../support/database.ts'

const HOST = `
  create table public.orgs (id int primary key, above int references public.orgs);
  create table public.notes (id int primary key, org_id int not null);
  create table public.lines (id int primary key, note_id int not null references public.notes);
  create table public.odd (id int primary key, label text);
  create table public.odd_lines (id int primary key, odd_id int not null references public.odd);
  insert into public.orgs values (1, null), (2, 1);
  insert into public.notes values (1, 1), (2, 2), (3, 9);
  insert into public.lines values (1, 1), (2, 2), (3, 3);
  insert into public.odd values (1, 'org 1');
  insert into public.odd_lines values (1, 1);`

it.each(['separate', 'included'] as const)(
  'says which rows some tenant reaches, and nothing where a predicate decides; tenants of tenants %s',
  (subtenants) =>
    withDatabase(async (database) => {
      await database.admin.query(HOST)
      const report = await initialiseProtection(database.admin, {
        tenantTable: 'orgs',
        tenantColumns: ['org_id'],
        enableRowSecurity: true,
        subtenants,
        answers: { custom: [`odd=label = 'org ' || {tenant}`] },
      })
      expect(report.unsettled).toEqual([])

      const { rows } = await database.worker.query<{ name: string; expression: string | null }>(
        `select table_name as name, reached_expression as expression
         from tenantkeep.tenant_tables order by 1`,
      )
      const reached: Record<string, string[] | null> = {}
      for (const { name, expression } of rows) {
        if (expression === null) reached[name] = null
        else {
          const found = await database.admin.query<{ id: string }>(
            `select id::text as id from only public.${name} where ${expression} order by 1`,
          )
          reached[name] = found.rows.map((row) => row.id)
        }
      }
      expect(reached).toEqual({
        lines: ['1', '2'],
        notes: ['1', '2'],
        odd: null,
        odd_lines: null,
        orgs: ['1', '2'],
      })
    }),
)
