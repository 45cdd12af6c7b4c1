import { Menu } from '@mantine/core'
import { Icon } from '../frame/icons.tsx'
import classes from './backup-list.module.css'
import type { Backup } from './read-backups.ts'

export type BackupAction = 'download' | 'pin' | 'unpin' | 'edit'

/** What else can be done with a backup. Opens below the button that it lies over. */
export function BackupMenu({
  backup,
  isOpen,
  onClose,
  onChoose,
}: {
  backup: Backup
  isOpen: boolean
  onClose: () => void
  onChoose: (action: BackupAction) => void
}) {
  const isPinned = backup.pinnedAt !== null
  return (
    <Menu
      opened={isOpen}
      onClose={onClose}
      position="bottom-end"
      width={190}
      // An element that is neither an item nor part of one is no child of a menu; the first item has the focus.
      withInitialFocusPlaceholder={false}
    >
      <Menu.Target>
        <span className={classes.menuPlace} aria-hidden="true" />
      </Menu.Target>
      <Menu.Dropdown aria-label="More actions">
        {backup.damagedAt === null && (
          <Menu.Item
            data-autofocus
            leftSection={<Icon name="download" />}
            onClick={() => onChoose('download')}
          >
            Download
          </Menu.Item>
        )}
        <Menu.Item
          {...(backup.damagedAt === null ? {} : { 'data-autofocus': true })}
          leftSection={<Icon name="pin" />}
          onClick={() => onChoose(isPinned ? 'unpin' : 'pin')}
        >
          {isPinned ? 'Unpin' : 'Pin'}
        </Menu.Item>
        <Menu.Item leftSection={<Icon name="edit" />} onClick={() => onChoose('edit')}>
          Edit note and tags
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  )
}
