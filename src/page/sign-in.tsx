import { Alert, Button, Paper, PasswordInput, Stack, Text, TextInput, Title } from '@mantine/core'
import { useForm } from '@mantine/form'
import { isAuthApiError, type SupabaseClient } from '@supabase/supabase-js'
import { useState } from 'react'
import { Icon } from './icons.tsx'
import classes from './page.module.css'

/** Signs in with e-mail and password. The client tells the rest of the page when it worked. */
export function SignIn({
  supabase,
  hint,
}: {
  supabase: SupabaseClient
  hint?: string | undefined
}) {
  const [failure, setFailure] = useState<string | null>(null)
  const [isBusy, setIsBusy] = useState(false)
  const form = useForm({
    initialValues: { email: '', password: '' },
    validate: {
      email: (value) => (value.includes('@') ? null : 'Enter your e-mail address'),
      password: (value) => (value === '' ? 'Enter your password' : null),
    },
  })

  const signIn = async ({ email, password }: { email: string; password: string }) => {
    setIsBusy(true)
    setFailure(null)
    const { error } = await supabase.auth.signInWithPassword({ email: email.trim(), password })
    setIsBusy(false)
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
          onSubmit={form.onSubmit(signIn, (errors) => {
            const first = Object.keys(errors)[0]
            if (first !== undefined) form.getInputNode(first)?.focus()
          })}
        >
          <Stack gap="md">
            <div>
              <Title order={1} size="h2">
                Sign in
              </Title>
              <Text c="dimmed" size="sm" mt={4}>
                See and create the backups of your organization.
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
            <Button type="submit" size="md" loading={isBusy}>
              Sign in
            </Button>
            {hint !== undefined && (
              <Text size="xs" c="dimmed">
                {hint}
              </Text>
            )}
          </Stack>
        </form>
      </Paper>
    </main>
  )
}
