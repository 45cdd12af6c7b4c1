/** What one demonstration tenant is like. */
export interface DemoTenant {
  /** 1 for the first. */
  number: number
  id: string
  name: string
  slug: string
  plan: 'trial' | 'standard' | 'enterprise'
  country: string
  /** Rows, as a fraction of the largest tenant's. */
  size: number
  /** Tables that this business uses more (above 1) or less than others. */
  leaning: Readonly<Record<string, number>>
  /** Customers are called by one word of each list. */
  customerNames: readonly [readonly string[], readonly string[]]
  people: Readonly<Record<DemoRole, string>>
}

export type DemoRole = 'owner' | 'admin' | 'member'

/** Somebody who works for a demonstration tenant. The id is the same on every machine. */
export interface DemoPerson {
  id: string
  email: string
  fullName: string
  role: DemoRole
  tenantId: string
  tenantName: string
}

const ROLES = ['owner', 'admin', 'member'] as const satisfies readonly DemoRole[]

const FIVE: readonly Omit<DemoTenant, 'number' | 'id'>[] = [
  {
    name: 'Prairie Welding & Gas',
    slug: 'prairie',
    plan: 'enterprise',
    country: 'US',
    size: 1,
    leaning: { rentals: 1.3, bottles: 1.2 },
    customerNames: [
      ['Dakota', 'Big Sky', 'Cedar Creek', 'Lone Tree', 'Red River', 'Bluestem', 'Sandhill'],
      ['Fabrication', 'Steel Works', 'Auto Body', 'Farm Co-op', 'Pipe & Valve', 'Machine Shop'],
    ],
    people: { owner: 'Ruth Lindqvist', admin: 'Marcus Bell', member: 'Dana Whitehorse' },
  },
  {
    name: 'Nordlicht Medizingase GmbH',
    slug: 'nordlicht',
    plan: 'enterprise',
    country: 'DE',
    size: 0.35,
    leaning: { cylinder_fills: 2, deliveries: 2, verification_requests: 3, sales_orders: 0.4 },
    customerNames: [
      ['Klinikum', 'Pflegeheim', 'Praxis', 'Ambulanz', 'Sanitätshaus', 'Rettungswache'],
      ['Lübeck', 'Schönberg', 'Eutin', 'Größhansdorf', 'Plön', 'Süderbrarup', 'Kappeln'],
    ],
    people: { owner: 'Jörg Thießen', admin: 'Ayşe Yıldız', member: 'Björn Petersen' },
  },
  {
    name: 'O\'Malley\'s "CO₂ & Co." Brewery Supply',
    slug: 'omalley',
    plan: 'standard',
    country: 'IE',
    size: 0.12,
    leaning: { sales_orders: 4, sales_order_items: 4, rentals: 0.5, cylinder_fills: 0.3 },
    customerNames: [
      ["O'Brien's", 'The "Crooked" Keg', 'Mac Giolla', 'Fox \\ Hound', 'Dún Laoghaire', "D'Arcy"],
      ['Brewing', 'Taproom', 'Bar & Kitchen', 'Cellars', 'Cider Mill', 'Soda Fountain'],
    ],
    people: { owner: "Siobhán O'Malley", admin: 'Tadhg Ó Sé', member: 'Nora "Fizz" Quinn' },
  },
  {
    name: '札幌ガス容器',
    slug: 'sapporo',
    plan: 'standard',
    country: 'JP',
    size: 0.035,
    leaning: { support_tickets: 4, support_ticket_messages: 4, customer_support: 4 },
    customerNames: [
      ['北海', '小樽', '旭川', '函館', '石狩', '十勝'],
      ['製作所', '病院', '食品', '水産', '工業', '大学研究室'],
    ],
    people: { owner: '佐藤 美咲', admin: '高橋 健', member: '山田 さくら' },
  },
  {
    name: 'Balloon Barn 🎈',
    slug: 'balloons',
    plan: 'trial',
    country: 'GB',
    size: 0,
    leaning: { notifications: 2 },
    customerNames: [
      ['Party', 'Confetti', 'Rainbow', 'Happy Day', 'Piñata'],
      ['Palace', 'Rentals', 'Planners', 'Shop'],
    ],
    people: { owner: 'Poppy Ashworth', admin: 'Zoë Clarke', member: 'Ravi Patel' },
  },
]

/**
 * The demonstration's tenants: five with a character of their own, and as many plain ones after them
 * as are asked for. The same number gives the same tenant, whatever seed and size.
 */
export function listDemoTenants(count: number): DemoTenant[] {
  return Array.from({ length: count }, (_, index) => {
    const number = index + 1
    const id = `a0000000-0000-4000-8000-${number.toString(16).padStart(12, '0')}`
    return { ...(FIVE[index] ?? describePlainTenant(number)), number, id }
  })
}

/** The five of the default, for whoever needs one by its id. */
export const DEMO_TENANTS = listDemoTenants(FIVE.length)

/** Whose rows every new organization starts with (template.sql); no customer, and not among the five. */
export const DEMO_TEMPLATE_TENANT = {
  id: 'a0000000-0000-4000-8000-000000000000',
  name: 'Defaults for new organizations',
  /** The tables that take part. */
  tables: [
    ...['locations', 'gas_types', 'customers', 'Price List 2025'],
    ...['sales_orders', 'sales_order_items'],
  ],
}

/** Who looks after all of them, and belongs to none. */
export const DEMO_OPERATOR = {
  id: 'c0000000-0000-4000-8000-000000000001',
  email: 'operator@tenantkeep.example',
  fullName: 'Ines Castellano',
}

/** One owner, one admin and one member of each tenant. */
export function listDemoPeople(tenants: readonly DemoTenant[] = DEMO_TENANTS): DemoPerson[] {
  return tenants.flatMap((tenant) =>
    ROLES.map((role, index) => ({
      id: `b0000000-0000-4000-8000-${(tenant.number * 16 + index + 1).toString(16).padStart(12, '0')}`,
      email: `${role}@${tenant.slug}.example`,
      fullName: tenant.people[role],
      role,
      tenantId: tenant.id,
      tenantName: tenant.name,
    })),
  )
}

function describePlainTenant(number: number): Omit<DemoTenant, 'number' | 'id'> {
  const label = String(number).padStart(4, '0')
  return {
    name: `Gas Depot ${label}`,
    slug: `depot-${label}`,
    plan: 'standard',
    country: 'US',
    size: 0.05,
    leaning: {},
    customerNames: [
      ['North', 'South', 'East', 'West'],
      ['Garage', 'Clinic', 'Bakery', 'Foundry'],
    ],
    people: { owner: `Owner ${label}`, admin: `Admin ${label}`, member: `Member ${label}` },
  }
}
