import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { METRICS, METRICS_PREFIX } from '../../src/core/watch/collect-metrics.ts'
import { readTableRows, readText } from './read-docs.ts'

const names = Object.keys(METRICS).map((name) => METRICS_PREFIX + name)
const usedIn = (text: string) => [...new Set(text.match(/\btenantkeep_\w+/g) ?? [])]

const Dashboard = z.object({
  title: z.string(),
  uid: z.string(),
  panels: z.array(
    z.object({
      id: z.number(),
      title: z.string().min(1),
      type: z.enum(['stat', 'timeseries']),
      gridPos: z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() }),
      targets: z.array(z.object({ expr: z.string().min(1), refId: z.string() })).min(1),
    }),
  ),
})

test('every metric is described in docs/observability, with its labels, and no other', () => {
  const rows = readTableRows(readText('docs/observability/README.md'))

  expect(rows.map(([name]) => name)).toEqual(names)
  for (const [name = '', labels = ''] of rows) {
    const declared: readonly string[] =
      Object.entries(METRICS).find(([key]) => METRICS_PREFIX + key === name)?.[1].labels ?? []
    expect(
      labels.split(/[\s,`]+/).filter((label) => label !== ''),
      name,
    ).toEqual([...declared])
  }
})

describe('the dashboard', () => {
  const dashboard = Dashboard.parse(
    JSON.parse(readText('docs/observability/grafana-dashboard.json')),
  )
  const expressions = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))

  test('asks for metrics that there are, and shows every one of them', () => {
    expect(usedIn(expressions.join(' ')).sort()).toEqual([...names].sort())
  })

  test('has panels with ids of their own that don’t cover each other', () => {
    const { panels } = dashboard
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
    const covering = panels.flatMap(({ id, gridPos: a }) =>
      panels.filter(({ id: other, gridPos: b }) => {
        const isApart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y
        return id < other && !isApart
      }),
    )
    expect(covering).toEqual([])
  })
})

describe('the alert rules', () => {
  const text = readText('docs/observability/alert-rules.yaml')
  const rules = text.split(/^ {6}- /m).slice(1)

  test('ask for metrics that there are', () => {
    expect(rules.length).toBeGreaterThan(8)
    expect(usedIn(text).filter((name) => !names.includes(name))).toEqual([])
  })

  test('each have a name of their own, an expression over a metric, a severity and a summary', () => {
    const alerts = rules.map((rule) => /^alert: (\w+)$/m.exec(rule)?.[1])
    expect(new Set(alerts).size).toBe(rules.length)
    for (const rule of rules) {
      expect(rule).toMatch(/^ {8}expr: .*tenantkeep_/m)
      expect(rule).toMatch(/^ {10}severity: (critical|warning|info)$/m)
      expect(rule).toMatch(/^ {10}summary: ./m)
    }
  })

  test('compare labels with values that there are', () => {
    const labels = new Set(names.flatMap((name) => METRICS_OF.get(name) ?? []))
    for (const [, label] of text.matchAll(/[{,](\w+)="/g)) expect(labels).toContain(label)
  })
})

const METRICS_OF = new Map<string, readonly string[]>(
  Object.entries(METRICS).map(([name, { labels }]) => [METRICS_PREFIX + name, labels]),
)
