import { Alert, Text } from '@mantine/core'
import { RequestFailed } from '../calls/call-function.ts'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { Icon } from '../frame/icons.tsx'
import { describeDefaultsFailure } from './describe-failure.ts'

/** Why the defaults were not changed: no connection, no right, or something that can't be; what was typed stays. */
export function DefaultsFailure({
  error,
  what,
  isBadInput = false,
}: {
  error: unknown
  what: string
  /** The fields say which. */
  isBadInput?: boolean
}) {
  const words = describeDefaultsFailure(error, what, isBadInput)
  if (words === null) return <ErrorNotice error={error} what={what} />
  const requestId = error instanceof RequestFailed ? error.requestId : undefined
  return (
    <Alert
      color={words.tone === 'bad' ? 'red' : 'yellow'}
      icon={<Icon name={words.tone === 'bad' ? 'cross' : 'attention'} />}
      title={words.title}
      role="alert"
    >
      <Text size="sm">{words.text}</Text>
      {requestId !== undefined && !isBadInput && (
        <Text size="xs" c="dimmed" mt={6}>
          Request {requestId}
        </Text>
      )}
    </Alert>
  )
}
