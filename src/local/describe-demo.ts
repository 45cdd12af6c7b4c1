import {
  DEMO_OPERATOR,
  DEMO_TEMPLATE_TENANT,
  DEMO_TENANTS,
  type DemoPerson,
  type DemoRole,
  listDemoPeople,
} from '../../supabase/demo/demo-tenants.ts'

/** The demonstration's part of `stack.env`: two tenants, who can sign in to them, and the template. */
export function describeDemo(password: string): Record<string, string> {
  const owner = findPerson(0, 'owner')
  const member = findPerson(0, 'member')
  const otherOwner = findPerson(1, 'owner')
  return {
    DEMO_TENANT_ID: owner.tenantId,
    DEMO_OTHER_TENANT_ID: otherOwner.tenantId,
    DEMO_TEMPLATE_TENANT_ID: DEMO_TEMPLATE_TENANT.id,
    DEMO_OWNER_EMAIL: owner.email,
    DEMO_OWNER_PASSWORD: password,
    DEMO_MEMBER_EMAIL: member.email,
    DEMO_MEMBER_PASSWORD: password,
    DEMO_OTHER_OWNER_EMAIL: otherOwner.email,
    DEMO_OTHER_OWNER_PASSWORD: password,
    DEMO_OPERATOR_EMAIL: DEMO_OPERATOR.email,
    DEMO_OPERATOR_PASSWORD: password,
  }
}

/** Somebody that one can sign in as to try the page. */
export interface DemoLogin {
  email: string
  password: string
  /** `owner of Prairie Welding & Gas`. */
  what: string
}

/** Who can sign in: one of each kind, and the owner of another tenant. */
export function listLogins(password: string): DemoLogin[] {
  const people = [findPerson(0, 'owner'), findPerson(0, 'member'), findPerson(1, 'owner')]
  return [
    ...people.map(({ email, role, tenantName }) => ({
      email,
      password,
      what: `${role} of ${tenantName}`,
    })),
    { email: DEMO_OPERATOR.email, password, what: 'operator of all tenants' },
  ]
}

/** The same, for people. */
export function describeLogins(password: string): string[] {
  const logins = listLogins(password)
  const width = Math.max(...logins.map(({ email }) => email.length))
  return [
    `Sign in with the password ${password} as`,
    '',
    ...logins.map(({ email, what }) => `  ${email.padEnd(width)}  ${what}`),
  ]
}

function findPerson(tenant: number, role: DemoRole): DemoPerson {
  const person = listDemoPeople(DEMO_TENANTS).find(
    (candidate) => candidate.tenantId === DEMO_TENANTS[tenant]?.id && candidate.role === role,
  )
  if (person === undefined) throw new Error(`The demonstration has no ${role} in tenant ${tenant}.`)
  return person
}
