import { Badge, Group, Pagination, Paper, Skeleton, Stack, Text } from '@mantine/core'
import type { ReactNode } from 'react'
import type { StatusWords } from '../backups/backup-words.ts'
import { PAGE_SIZE } from '../backups/read-backups.ts'
import { formatCount } from './format.ts'
import { Icon } from './icons.tsx'
import classes from './page.module.css'

/** Parts that both lists share. */

export function StatusBadge({ words }: { words: StatusWords }) {
  return (
    <Badge color={words.colour} leftSection={<Icon name={words.icon} size={13} />}>
      {words.word}
    </Badge>
  )
}

/** A list that has nothing in it: what that means, and what to do first. */
export function EmptyList({
  title,
  text,
  action,
}: {
  title: string
  text: string
  action?: ReactNode
}) {
  return (
    <Stack align="center" gap={4} py={48} px="md">
      <Text fw={600}>{title}</Text>
      <Text c="dimmed" size="sm" ta="center" maw={460}>
        {text}
      </Text>
      {action !== undefined && <div className={classes.emptyAction}>{action}</div>}
    </Stack>
  )
}

const SKELETON_ROWS = ['a', 'b', 'c', 'd', 'e']

export function ListSkeleton({ isNarrow }: { isNarrow: boolean }) {
  return (
    <div aria-hidden="true" className={isNarrow ? classes.cards : classes.skeletonRows}>
      {SKELETON_ROWS.map((row) => (
        <Skeleton key={row} height={isNarrow ? 112 : 38} radius="md" />
      ))}
    </div>
  )
}

/** `1–20 of 128` and the pages, where there is more than one. */
export function Pages({
  page,
  total,
  label,
  onChange,
}: {
  page: number
  total: number
  label: string
  onChange: (page: number) => void
}) {
  const pages = Math.max(1, Math.ceil(total / PAGE_SIZE))
  if (pages === 1) return null
  const first = (page - 1) * PAGE_SIZE + 1
  const last = Math.min(total, page * PAGE_SIZE)
  return (
    <Group justify="space-between" px="md" py="sm" gap="sm" className={classes.pages}>
      <Text size="sm" c="dimmed">
        {formatCount(first)}–{formatCount(last)} of {formatCount(total)}
      </Text>
      <Pagination
        total={pages}
        value={page}
        onChange={onChange}
        size="sm"
        siblings={0}
        aria-label={label}
        getControlProps={(control) => ({ 'aria-label': `${control} page` })}
        getItemProps={(item) => ({ 'aria-label': `Page ${item}` })}
      />
    </Group>
  )
}

/**
 * A table with a caption for screen readers and lines between its rows. Not Mantine's: that one brings a
 * scroll area and a library for floating boxes along, a tenth of what a visitor loads first.
 */
export function ListTable({
  caption,
  head,
  children,
}: {
  caption: string
  head: ReactNode
  children: ReactNode
}) {
  return (
    <table className={classes.table}>
      <caption className={classes.hidden}>{caption}</caption>
      <thead>
        <tr>{head}</tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  )
}

/** One entry of a list where there is no room for a table. */
export function ListCard({ children }: { children: ReactNode }) {
  return (
    <Paper component="li" withBorder p="md" className={classes.card}>
      {children}
    </Paper>
  )
}

/** A value that there is not. */
export function Nothing() {
  return (
    <Text span inherit c="dimmed">
      <span aria-hidden="true">—</span>
      <span className={classes.hidden}>none</span>
    </Text>
  )
}
