import type { DemoPerson } from './demo-tenants.ts'
import type { DemoSession } from './generate.ts'

/**
 * Writes people into `auth.users` who can't sign in: enough for the rows that refer to them. Runs as
 * a role that may write there. People who are there already stay as they are.
 */
export async function createDemoUsers(
  session: DemoSession,
  people: readonly DemoPerson[],
): Promise<void> {
  await session.query(
    `insert into auth.users (id, email)
     select person.id, person.email from json_to_recordset($1) as person (id uuid, email text)
     on conflict do nothing`,
    [JSON.stringify(people)],
  )
}

export type DemoLogin = Pick<DemoPerson, 'id' | 'email' | 'fullName'>

/**
 * Writes people into `auth.users` and `auth.identities` who sign in with e-mail and password, in the
 * columns that Supabase's Auth and `@supabase/lite` share. Lite has no admin API yet, so that
 * `auth.admin.createUser({ id })` can't be used. People who are there already get the password.
 * Runs as a role that may write there and may create `pgcrypto` where that is missing.
 */
export async function createDemoLogins<Person extends DemoLogin>(
  session: DemoSession,
  people: readonly Person[],
  passwordOf: (person: Person) => string,
): Promise<void> {
  const logins = people.map((person) => ({ ...person, password: passwordOf(person) }))
  await session.query(`
    create schema if not exists extensions;
    create extension if not exists pgcrypto with schema extensions`)
  await session.query(
    `with person as (
       select * from json_to_recordset($1)
         as person (id uuid, email text, "fullName" text, password text)
     ), account as (
       insert into auth.users (id, aud, role, email, encrypted_password, email_confirmed_at,
         raw_app_meta_data, raw_user_meta_data)
       select id, 'authenticated', 'authenticated', email,
         extensions.crypt(password, extensions.gen_salt('bf')), now(),
         '{"provider": "email", "providers": ["email"]}',
         jsonb_build_object('sub', id, 'email', email, 'full_name', "fullName",
           'email_verified', true, 'phone_verified', false)
       from person
       on conflict (id) do update set
         encrypted_password = excluded.encrypted_password,
         email_confirmed_at = coalesce(users.email_confirmed_at, excluded.email_confirmed_at)
     )
     insert into auth.identities (id, provider, provider_id, user_id, identity_data)
     select id, 'email', id::text, id,
       jsonb_build_object('sub', id, 'email', email, 'email_verified', true, 'phone_verified', false)
     from person
     on conflict (provider, provider_id) do nothing`,
    [JSON.stringify(logins)],
  )
}
