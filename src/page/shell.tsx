import { Alert, Button, MantineProvider, Text } from '@mantine/core'
import { isAuthRetryableFetchError } from '@supabase/auth-js'
import { lazy, Suspense, useEffect, useRef, useState } from 'react'
import { BrowserRouter, Navigate, Outlet, Route, Routes, useLocation } from 'react-router'
import * as z from 'zod/mini'
import type { PageClient } from './calls/call-function.ts'
import classes from './frame/page.module.css'
import iconUrl from './icon.svg'
import { createPageClient } from './supabase-client.ts'
import { TenantBackupRestore } from './tenant-backup-restore.tsx'
import { theme } from './theme.ts'

/** Who is signed in already does not load it. */
const SignIn = lazy(() => import('./sign-in.tsx').then((module) => ({ default: module.SignIn })))

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
  return (
    <MantineProvider
      theme={theme}
      defaultColorScheme="auto"
      withCssVariables={false}
      withGlobalClasses={false}
    >
      {settings.success ? (
        <Application
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

function Application({ url, publishableKey }: { url: string; publishableKey: string }) {
  const [supabase] = useState(() => createPageClient(url, publishableKey))
  return (
    <BrowserRouter>
      <Routes>
        <Route element={<SignedInRoute supabase={supabase} />}>
          <Route
            path={PAGE_PATH}
            element={
              <TenantBackupRestore
                supabase={supabase}
                functionsUrl="/.netlify/functions"
                onSignInRequired={() => void renewSession(supabase)}
              />
            }
          />
        </Route>
        <Route path="*" element={<ToPage />} />
      </Routes>
    </BrowserRouter>
  )
}

/** Somebody was refused. A session that can't be renewed is ended, which asks the person to sign in again. */
async function renewSession(supabase: PageClient): Promise<void> {
  const { error } = await supabase.auth.refreshSession()
  if (error === null || isAuthRetryableFetchError(error)) return
  await supabase.auth.signOut({ scope: 'local' })
}

/** The demonstration has one page; what stands behind the address goes along. */
function ToPage() {
  const { search } = useLocation()
  return <Navigate to={PAGE_PATH + search} replace />
}

/**
 * What is behind it is for people who are signed in. Whose session ends is asked to sign in again, while the
 * page stays as it is behind that; another person starts with nothing of the former.
 */
function SignedInRoute({ supabase }: { supabase: PageClient }) {
  const { person, hasEnded, signOut } = usePerson(supabase)
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
            <Button variant="default" size="xs" className={classes.signOut} onClick={signOut}>
              Sign out
            </Button>
          </div>
        )}
      </header>
      {(person === null || hasEnded) && (
        <Suspense fallback={null}>
          <SignIn supabase={supabase} logins={DEMO_LOGINS} endedFor={person?.email} />
        </Suspense>
      )}
      {person !== null && (
        <div key={person.id} hidden={hasEnded}>
          <Outlet />
        </div>
      )}
    </div>
  )
}

interface Person {
  id: string
  email: string
}

/**
 * Who is signed in: undefined until that is known, null for nobody. `hasEnded`: the session of this person
 * is over without their having asked for it.
 */
function usePerson(supabase: PageClient) {
  const [person, setPerson] = useState<Person | null>()
  const [hasEnded, setEnded] = useState(false)
  const isLeaving = useRef(false)
  useEffect(() => {
    // Some events come again whenever the tab is looked at; only another id is another person.
    const { data } = supabase.auth.onAuthStateChange((_event, session) => {
      if (session === null) {
        if (isLeaving.current) setPerson(null)
        else setPerson((known) => known ?? null)
        setEnded(!isLeaving.current)
        isLeaving.current = false
        return
      }
      const next = { id: session.user.id, email: session.user.email ?? 'signed in' }
      setPerson((known) => (known?.id === next.id ? known : next))
      setEnded(false)
    })
    return () => data.subscription.unsubscribe()
  }, [supabase])
  const signOut = () => {
    isLeaving.current = true
    if (hasEnded) {
      isLeaving.current = false
      setPerson(null)
      setEnded(false)
    } else void supabase.auth.signOut({ scope: 'local' })
  }
  return { person, hasEnded: hasEnded && person != null, signOut }
}
