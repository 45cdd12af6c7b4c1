import {
  Alert,
  Button,
  Paper,
  PasswordInput,
  Stack,
  Text,
  TextInput,
  Title,
  UnstyledButton,
} from '@mantine/core'
import { useForm } from '@mantine/form'
import { isAuthApiError } from '@supabase/auth-js'
import { useEffect, useRef, useState } from 'react'
import type { PageClient } from './calls/call-function.ts'
import { Icon } from './frame/icons.tsx'
import classes from './frame/page.module.css'
import parts from './sign-in.module.css'

interface SignInProps {
  supabase: PageClient
  /** Whom one can sign in as to try the page; empty outside of `npm start`. */
  logins: typeof DEMO_LOGINS
  /** Whose session has ended, for whom the page is kept. */
  endedFor: string | undefined
}

/** Signs in with e-mail and password. The client tells the rest of the page when it worked. */
export function SignIn({ supabase, logins, endedFor }: SignInProps) {
  const [failure, setFailure] = useState<string | null>(null)
  /** Who is being signed in: an address of the list, or the form. */
  const [busy, setBusy] = useState<string | null>(null)
  const heading = useRef<HTMLHeadingElement>(null)
  const form = useForm({
    initialValues: { email: endedFor ?? '', password: '' },
    validate: {
      email: (value) => (value.includes('@') ? null : 'Enter your e-mail address'),
      password: (value) => (value === '' ? 'Enter your password' : null),
    },
  })
  useEffect(() => {
    document.title = 'Sign in'
    // What had the focus is hidden.
    if (endedFor !== undefined) heading.current?.focus()
  }, [endedFor])

  const signIn = async (login: { email: string; password: string }, who = 'form') => {
    setBusy(who)
    setFailure(null)
    const { email, password } = login
    const { error } = await supabase.auth.signInWithPassword({ email: email.trim(), password })
    setBusy(null)
    if (error === null) return
    if (isAuthApiError(error) && error.status === 400) {
      setFailure('E-mail address and password do not match. Check both and try again.')
    } else if (isAuthApiError(error) && error.status === 429) {
      setFailure('Too many attempts. Wait a minute, then try again.')
    } else {
      setFailure('The sign-in service did not answer. Check your connection and try again.')
    }
  }

  return (
    <main className={classes.signIn}>
      <Paper withBorder p="xl" radius="lg" className={classes.card}>
        <form
          noValidate
          onSubmit={form.onSubmit(
            (values) => signIn(values),
            (errors) => {
              const first = Object.keys(errors)[0]
              if (first !== undefined) form.getInputNode(first)?.focus()
            },
          )}
        >
          <Stack gap="md">
            <div>
              <Title
                order={1}
                size="h2"
                ref={heading}
                tabIndex={-1}
                className={classes.focusTarget}
              >
                {endedFor === undefined ? 'Sign in' : 'Sign in again'}
              </Title>
              <Text c="dimmed" size="sm" mt={4}>
                {endedFor === undefined
                  ? 'See your backups, compare them, and get back what was lost.'
                  : 'You were signed out. What is running goes on, and your choices are kept.'}
              </Text>
            </div>
            {failure !== null && (
              <Alert color="red" role="alert" icon={<Icon name="cross" />} title="Not signed in">
                {failure}
              </Alert>
            )}
            <TextInput
              label="E-mail address"
              type="email"
              autoComplete="username"
              size="md"
              {...form.getInputProps('email')}
              key={form.key('email')}
            />
            <PasswordInput
              label="Password"
              autoComplete="current-password"
              size="md"
              visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the password' }}
              {...form.getInputProps('password')}
              key={form.key('password')}
            />
            <Button type="submit" size="md" loading={busy === 'form'}>
              Sign in
            </Button>
          </Stack>
        </form>
      </Paper>
      {logins.length > 0 && (
        <DemoLogins
          logins={logins}
          busy={busy}
          onChoose={(login) => void signIn(login, login.email)}
        />
      )}
    </main>
  )
}

function DemoLogins({
  logins,
  busy,
  onChoose,
}: {
  logins: SignInProps['logins']
  busy: string | null
  onChoose: (login: SignInProps['logins'][number]) => void
}) {
  return (
    <section className={parts.demo} aria-labelledby="tenantkeep-demo">
      <Title order={2} size="h5" id="tenantkeep-demo">
        Or try it as somebody of the demonstration
      </Title>
      <ul className={parts.logins}>
        {logins.map((login) => (
          <li key={login.email}>
            <UnstyledButton
              className={parts.login}
              disabled={busy !== null}
              aria-busy={busy === login.email}
              onClick={() => onChoose(login)}
            >
              <span className={parts.what}>{login.what}</span>
              <span className={parts.email}>{login.email}</span>
            </UnstyledButton>
          </li>
        ))}
      </ul>
      <Text size="xs" c="dimmed">
        They are on this machine only, and all have the password{' '}
        <code className={parts.password}>{logins[0]?.password}</code>
      </Text>
    </section>
  )
}
