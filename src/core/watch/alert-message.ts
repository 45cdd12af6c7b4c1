/** What the webhook is told of, oldest first within its kind. */
export interface AlertEvent {
  /** The same however often it is sent: whoever hears it twice can tell. */
  id: string
  kind: 'opened' | 'reminder' | 'ended' | 'restore' | 'undo' | 'forget'
  /** Of a problem its code; of a restore, an undo or an erasure its status. */
  code: string
  /** Null of what is no problem. */
  severity: 'error' | 'warning' | null
  tenant_id: string | null
  tenant_name: string | null
  table: string | null
  /** Since when it is so, or when it was done. */
  since: string | null
  /** Of a problem: when it was noticed, and when it was over. */
  opened_at: string | null
  ended_at: string | null
  message: string
  remedy: string | null
}

export interface AlertMessage {
  text: string
  blocks: object[]
  /** For programs. */
  tenantkeep: { version: 1; events: AlertEvent[]; events_left_out: number }
}

/** Slack shows 50 blocks of 3,000 characters at most; nobody reads more lines than these. */
const MOST_LINES = 25
const LINE_CHARACTERS = 500
/** A list of thousands is no message; the monitor's own answer has all of them. */
const MOST_EVENTS = 100

const HEADINGS: Record<AlertEvent['kind'], string> = {
  opened: 'New',
  reminder: 'Still so',
  ended: 'Over',
  restore: 'Restores',
  undo: 'Undone restores',
  forget: 'Erasures',
}
const ORDER: readonly AlertEvent['kind'][] = [
  'opened',
  'forget',
  'restore',
  'undo',
  'reminder',
  'ended',
]

/** One message for everything that is new, as Slack and those that speak like it take it. */
export function composeAlert(events: readonly AlertEvent[], isRepeated: boolean): AlertMessage {
  const groups = ORDER.flatMap((kind) => {
    const group = events.filter((event) => event.kind === kind)
    return group.length === 0 ? [] : [{ kind, group }]
  })
  const counts = groups.map(({ kind, group }) => `${HEADINGS[kind].toLowerCase()}: ${group.length}`)
  const title = `Tenantkeep: ${counts.join(', ')}`
  const sections = groups.map(({ kind, group }) => {
    const lines = group.slice(0, MOST_LINES).map(describe)
    const others = group.slice(MOST_LINES)
    return [
      `*${HEADINGS[kind]}*`,
      ...lines,
      ...(others.length === 0 ? [] : [`… and ${others.length} more (${countCodes(others)}).`]),
    ]
  })
  const repeated = isRepeated
    ? ['Some of this may have been said before: the answer to it never arrived.']
    : []
  return {
    text: escapeMarks([title, ...sections.flat(), ...repeated].join('\n')),
    blocks: [
      section([`*${title}*`]),
      ...sections.flatMap(toBlocks),
      ...(repeated.length === 0 ? [] : [section(repeated)]),
    ],
    tenantkeep: {
      version: 1,
      events: events.slice(0, MOST_EVENTS),
      events_left_out: Math.max(0, events.length - MOST_EVENTS),
    },
  }
}

function describe({ kind, severity, message, remedy }: AlertEvent): string {
  const mark = severity === null ? '' : kind === 'ended' ? '✓ ' : severity === 'error' ? '● ' : '○ '
  const act = remedy === null || kind === 'ended' ? '' : ` → ${remedy}`
  return cut(`${mark}${message}${act}`.replaceAll(/\s+/g, ' '))
}

function cut(text: string): string {
  return text.length <= LINE_CHARACTERS ? text : `${text.slice(0, LINE_CHARACTERS - 1)}…`
}

function countCodes(events: readonly AlertEvent[]): string {
  const counts = new Map<string, number>()
  for (const { code } of events) counts.set(code, (counts.get(code) ?? 0) + 1)
  return [...counts].map(([code, count]) => `${code}: ${count}`).join(', ')
}

/** A block takes 3,000 characters, which a few long lines fill. */
function toBlocks(lines: readonly string[]): object[] {
  const blocks: object[] = []
  for (let i = 0; i < lines.length; i += 5) blocks.push(section(lines.slice(i, i + 5)))
  return blocks
}

function section(lines: readonly string[]): object {
  return { type: 'section', text: { type: 'mrkdwn', text: escapeMarks(lines.join('\n')) } }
}

/** So that a tenant called «<!channel>» calls nobody. */
function escapeMarks(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
