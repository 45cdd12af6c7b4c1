import { Button, Paper, Text } from '@mantine/core'
import { formatAgo } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import classes from '../frame/page.module.css'
import { Time, useNow } from '../frame/times.tsx'
import { setSearchParams } from '../frame/use-search-param.ts'
import type { State } from './read-state.ts'
import head from './state-head.module.css'

/** One that can't be undone is of interest for a while only. */
const NEWS_MS = 24 * 3_600_000

/** That data was put back lately, with the way to take that back for as long as there is one. */
export function RestoreNotice({ restore }: { restore: NonNullable<State['lastRestore']> }) {
  const now = useNow(30_000)
  const { completedAt } = restore
  if (completedAt === null) return null
  if (!restore.canUndo && now.getTime() - completedAt.getTime() > NEWS_MS) return null
  const openResult = () =>
    setSearchParams(
      restore.kind === 'restore'
        ? { view: 'restore', backup: restore.backupId, run: restore.runId }
        : { view: 'undo', restore: restore.restoreId, run: restore.runId },
    )
  return (
    <Paper withBorder className={`${classes.card} ${head.notice}`}>
      <Icon name="back" size={20} />
      <Text size="sm" className={head.noticeText}>
        {restore.kind === 'restore' ? 'Restored' : 'A restore was undone'}{' '}
        {formatAgo(completedAt, now)}, {restore.kind === 'restore' ? 'to' : 'back to'}{' '}
        <Time value={restore.takenAt} />, by {restore.actorLabel}.{' '}
        {restore.canUndo && restore.undoUntil !== null && (
          <>
            It can be undone until <Time value={restore.undoUntil} />.
          </>
        )}
      </Text>
      <div className={head.noticeActions}>
        {restore.runId !== null && (
          <Button variant="subtle" size="sm" onClick={openResult}>
            See result
          </Button>
        )}
        {restore.canUndo && (
          <Button
            variant="default"
            size="sm"
            onClick={() => setSearchParams({ view: 'undo', restore: restore.restoreId })}
          >
            {restore.kind === 'restore' ? 'Undo this restore' : 'Take the undo back'}
          </Button>
        )}
      </div>
    </Paper>
  )
}
