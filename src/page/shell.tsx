import { Alert, Button, MantineProvider, Text } from '@mantine/core'
import { createClient, type SupabaseClient } from '@supabase/supabase-js'
import { useEffect, useState } from 'react'
import * as z from 'zod/mini'
import iconUrl from './icon.svg'
import classes from './page.module.css'
import { SignIn } from './sign-in.tsx'
import { TenantBackupRestore } from './tenant-backup-restore.tsx'
import { theme } from './theme.ts'

const PAGE_PATH = '/tenant-backup-restore'

/** Public values, written into the page when it is built. */
const Settings = z.object({
  VITE_SUPABASE_URL: z.url(),
  VITE_SUPABASE_PUBLISHABLE_KEY: z.string().check(z.minLength(1)),
})

/**
 * A host application at its smallest, around the page: it knows who is signed in, and hands over its
 * Supabase client.
 */
export function Shell() {
  const [settings] = useState(() =>
    Settings.safeParse({
      VITE_SUPABASE_URL: import.meta.env.VITE_SUPABASE_URL,
      VITE_SUPABASE_PUBLISHABLE_KEY: import.meta.env.VITE_SUPABASE_PUBLISHABLE_KEY,
    }),
  )
  useEffect(() => {
    if (window.location.pathname !== PAGE_PATH) {
      window.history.replaceState(null, '', PAGE_PATH + window.location.search)
    }
  }, [])
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto" withCssVariables={false}>
      {settings.success ? (
        <SignedInShell
          url={settings.data.VITE_SUPABASE_URL}
          publishableKey={settings.data.VITE_SUPABASE_PUBLISHABLE_KEY}
        />
      ) : (
        <main className={classes.page}>
          <Alert color="red" title="This page is not set up">
            VITE_SUPABASE_URL and VITE_SUPABASE_PUBLISHABLE_KEY must be set where the page is built.
          </Alert>
        </main>
      )}
    </MantineProvider>
  )
}

interface Person {
  id: string
  email: string
}

function SignedInShell({ url, publishableKey }: { url: string; publishableKey: string }) {
  const [supabase] = useState(() => createClient(url, publishableKey))
  const person = usePerson(supabase)
  if (person === undefined) return null
  return (
    <div className={classes.shell}>
      <header className={classes.bar}>
        <span className={classes.brand}>
          <img src={iconUrl} alt="" width={28} height={28} />
          Tenantkeep
        </span>
        {person !== null && (
          <div className={classes.person}>
            <Text size="sm" c="dimmed" className={classes.email} title={person.email}>
              {person.email}
            </Text>
            <Button
              variant="default"
              size="xs"
              className={classes.signOut}
              onClick={() => void supabase.auth.signOut({ scope: 'local' })}
            >
              Sign out
            </Button>
          </div>
        )}
      </header>
      {person === null ? (
        <SignIn supabase={supabase} hint={SIGN_IN_HINT} />
      ) : (
        // Another person starts with nothing of the former.
        <TenantBackupRestore
          key={person.id}
          supabase={supabase}
          functionsUrl="/.netlify/functions"
        />
      )}
    </div>
  )
}

/** Who is signed in: undefined until that is known, null for nobody. */
function usePerson(supabase: SupabaseClient): Person | null | undefined {
  const [person, setPerson] = useState<Person | null>()
  useEffect(() => {
    // Some events come again whenever the tab is looked at; only another id is another person.
    const { data } = supabase.auth.onAuthStateChange((_event, session) => {
      const next =
        session === null ? null : { id: session.user.id, email: session.user.email ?? 'signed in' }
      setPerson((known) => (known?.id === next?.id && known !== undefined ? known : next))
    })
    return () => data.subscription.unsubscribe()
  }, [supabase])
  return person
}

const SIGN_IN_HINT = import.meta.env.DEV
  ? 'On your own machine: npm start printed logins to try.'
  : undefined
