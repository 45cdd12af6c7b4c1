import { Alert, Text } from '@mantine/core'
import { useEffect, useRef } from 'react'
import { RequestFailed } from '../calls/call-function.ts'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { Icon } from '../frame/icons.tsx'
import classes from './defaults.module.css'
import { describeDefaultsFailure, type FailureWords } from './describe-failure.ts'

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
  const place = useRef<HTMLDivElement>(null)
  // The button that failed stands below a long form; with bad input the first wrong field has the focus.
  // biome-ignore lint/correctness/useExhaustiveDependencies: each failure is shown, the same words again too.
  useEffect(() => {
    if (!isBadInput) place.current?.scrollIntoView({ block: 'nearest' })
  }, [error, isBadInput])
  return (
    <div ref={place} className={classes.failure}>
      {words === null ? (
        <ErrorNotice error={error} what={what} />
      ) : (
        <Failure words={words} error={error} isBadInput={isBadInput} />
      )}
    </div>
  )
}

function Failure({
  words,
  error,
  isBadInput,
}: {
  words: FailureWords
  error: unknown
  isBadInput: boolean
}) {
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
