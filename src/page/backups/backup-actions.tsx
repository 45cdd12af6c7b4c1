import { Button, UnstyledButton } from '@mantine/core'
import { Suspense, useRef, useState } from 'react'
import type { PageServices } from '../calls/call-function.ts'
import { Icon } from '../frame/icons.tsx'
import classes from '../frame/page.module.css'
import { Time } from '../frame/times.tsx'
import { setSearchParams } from '../frame/use-search-param.ts'
import type { ViewProps } from '../frame/view-props.ts'
import { takenAt } from '../state/describe-state.ts'
import list from './backup-list.module.css'
import type { BackupAction } from './backup-menu.tsx'
import { BackupDialog, BackupMenu } from './load-overlays.ts'
import type { Backup } from './read-backups.ts'

/** What can be done with a backup: the two that people come for, and the rest behind a button. */
export function BackupActions({
  services,
  backup,
  announce,
}: {
  services: PageServices
  backup: Backup
  announce: ViewProps['announce']
}) {
  const [isMenuOpen, setMenuOpen] = useState(false)
  const wasMenuOpen = useRef(false)
  const menuButton = useRef<HTMLButtonElement>(null)
  const closeMenu = () => {
    setMenuOpen(false)
    menuButton.current?.focus()
  }
  // Kept when the dialog closes, so that its words stay while it fades.
  const [dialog, setDialog] = useState<{ action: BackupAction; isOpen: boolean } | null>(null)
  if (backup.status !== 'complete') return null
  const which = (
    <span className={classes.hidden}>
      {' '}
      the backup of <Time value={takenAt(backup)} />
    </span>
  )
  return (
    <div className={list.actions}>
      <Button
        variant="default"
        size="xs"
        data-opener={`compare-${backup.id}`}
        onClick={() => setSearchParams({ view: 'compare', backup: backup.id, run: null })}
      >
        Compare{which}
      </Button>
      <Button
        variant="default"
        size="xs"
        data-opener={`restore-${backup.id}`}
        onClick={() => setSearchParams({ view: 'restore', backup: backup.id, run: null })}
      >
        Restore{which}
      </Button>
      <span className={list.menuAnchor}>
        <UnstyledButton
          ref={menuButton}
          className={list.menuButton}
          aria-haspopup="menu"
          aria-expanded={isMenuOpen}
          // A press outside the menu closes it before the click arrives here.
          onPointerDown={() => {
            wasMenuOpen.current = isMenuOpen
          }}
          onClick={() => {
            setMenuOpen(!wasMenuOpen.current)
            wasMenuOpen.current = false
          }}
        >
          <Icon name="more" size={18} />
          <span className={classes.hidden}>More actions for{which}</span>
        </UnstyledButton>
        {isMenuOpen && (
          <Suspense fallback={null}>
            <BackupMenu
              backup={backup}
              isOpen
              onClose={closeMenu}
              onChoose={(action) => {
                setMenuOpen(false)
                setDialog({ action, isOpen: true })
              }}
            />
          </Suspense>
        )}
      </span>
      {dialog !== null && (
        <Suspense fallback={null}>
          <BackupDialog
            services={services}
            backup={backup}
            action={dialog.action}
            isOpen={dialog.isOpen}
            onClose={() => {
              setDialog({ ...dialog, isOpen: false })
              // What had the focus before was an item of the menu, which is gone.
              menuButton.current?.focus()
            }}
            announce={announce}
          />
        </Suspense>
      )}
    </div>
  )
}
