import { Button, UnstyledButton } from '@mantine/core'
import { Suspense, useId, useRef, useState } from 'react'
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
  const whyId = useId()
  if (backup.status !== 'complete') return null
  // Still to be found by the keyboard, so that one hears why.
  const blocked =
    backup.damagedAt === null
      ? {}
      : ({ 'aria-disabled': true, 'data-disabled': true, 'aria-describedby': whyId } as const)
  const open = (view: 'compare' | 'restore') => {
    if (backup.damagedAt !== null) return
    setSearchParams({ view, backup: backup.id, run: null })
  }
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
        {...blocked}
        onClick={() => open('compare')}
      >
        Compare{which}
      </Button>
      <Button
        variant="default"
        size="xs"
        data-opener={`restore-${backup.id}`}
        {...blocked}
        onClick={() => open('restore')}
      >
        Restore{which}
      </Button>
      {backup.damagedAt !== null && (
        <span id={whyId} className={classes.hidden}>
          Its files are damaged, so it is neither compared nor restored.
        </span>
      )}
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
