import { Button, List, Paper, Text, Title } from '@mantine/core'
import { useEffect, useRef, useState } from 'react'
import type { PageServices } from '../calls/call-function.ts'
import classes from './page.module.css'

interface NoAccessProps {
  services: PageServices
  /** A tenant was named, and there is none of that id for this person. */
  isNamed: boolean
  /** Asks again. */
  onRetry: () => void
  /** It is being asked. */
  isBusy: boolean
}

/** For members without rights, and people whose membership is gone: who can help, not an error. */
export function NoAccess({ services, isNamed, onRetry, isBusy }: NoAccessProps) {
  const email = useEmail(services)
  const heading = useRef<HTMLHeadingElement>(null)
  const title = isNamed
    ? 'This organization is not open to you'
    : "You can't see backups with this account"
  useEffect(() => {
    document.title = title
    heading.current?.focus()
  }, [title])
  return (
    <Paper withBorder p="xl" className={classes.card} maw={760}>
      <Title order={1} size="h2" ref={heading} tabIndex={-1} className={classes.focusTarget}>
        {title}
      </Title>
      <Text mt="sm" maw="65ch">
        Only owners and admins of an organization can see its backups and work with them.
        {email !== null && (
          <>
            {' '}
            You are signed in as <b className={classes.who}>{email}</b>, which is neither
            {isNamed ? ' there' : ''}, or no longer.
          </>
        )}
      </Text>
      <Title order={2} size="h4" mt="lg">
        Who can help
      </Title>
      <List mt="xs" spacing={6} maw="65ch">
        <List.Item>
          <b>You work there, and something was lost:</b> ask an owner or admin of your organization.
          They can compare, restore and undo here.
        </List.Item>
        <List.Item>
          <b>You should be an owner or admin:</b> ask one of them to check your role, then try
          again.
        </List.Item>
        <List.Item>
          <b>You were one, and your place itself was lost:</b> ask whoever runs this application.
          They see every organization here, and can bring your membership back from a backup.
        </List.Item>
      </List>
      <Text mt="md" maw="65ch" c="dimmed" size="sm">
        The backups are not affected; they go on without anybody looking.
      </Text>
      <Button mt="md" variant="default" loading={isBusy} onClick={onRetry}>
        Try again
      </Button>
    </Paper>
  )
}

/** Whom the reader is signed in as; null until that is known. */
function useEmail({ supabase }: PageServices): string | null {
  const [email, setEmail] = useState<string | null>(null)
  useEffect(() => {
    let isGone = false
    void supabase.auth.getSession().then(({ data }) => {
      if (!isGone) setEmail(data.session?.user.email ?? null)
    })
    return () => {
      isGone = true
    }
  }, [supabase])
  return email
}
