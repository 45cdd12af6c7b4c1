import { Alert, Button, Code, CopyButton, Group, Text } from '@mantine/core'
import { describeError } from './describe-error.ts'
import { Icon } from './icons.tsx'

/** What failed, what it means, what to do; with the request's id, for whoever is asked for help. */
export function ErrorNotice({
  error,
  what,
  onRetry,
}: {
  error: unknown
  /** The headline where the failure says little: «The history could not be loaded». */
  what: string
  onRetry?: (() => void) | undefined
}) {
  const { title, text, requestId } = describeError(error, what)
  return (
    <Alert color="red" title={title} icon={<Icon name="cross" />} role="alert">
      <Text size="sm">{text}</Text>
      {(requestId !== undefined || onRetry !== undefined) && (
        <Group mt="sm" gap="sm">
          {onRetry !== undefined && (
            <Button size="xs" variant="default" onClick={onRetry}>
              Try again
            </Button>
          )}
          {requestId !== undefined && (
            <Group gap="xs">
              <Text size="xs" c="dimmed">
                Request <Code>{requestId}</Code>
              </Text>
              <CopyButton value={requestId}>
                {({ copied, copy }) => (
                  <Button size="compact-xs" variant="subtle" onClick={copy}>
                    {copied ? 'Copied' : 'Copy'}
                  </Button>
                )}
              </CopyButton>
            </Group>
          )}
        </Group>
      )}
    </Alert>
  )
}
