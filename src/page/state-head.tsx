import { Button, Paper, Skeleton, Text, ThemeIcon, Title } from '@mantine/core'
import { Fragment } from 'react'
import { describeState, type StateSentence, type TenantState, TONES } from './describe-state.ts'
import { Icon } from './icons.tsx'
import classes from './page.module.css'
import { Time, useNow } from './times.tsx'

interface StateHeadProps {
  state: TenantState
  /** A backup was asked for and the service has not answered yet. */
  isBusy: boolean
  /** The progress of a backup stands below. */
  isFollowed: boolean
  onCreate: () => void
  /** Given while a backup of this tenant runs. */
  onShowProgress: (() => void) | undefined
}

/** Whether the data is safe, in one sentence, with what to press. */
export function StateHead({ state, isBusy, isFollowed, onCreate, onShowProgress }: StateHeadProps) {
  const sentence = describeState(state, useNow(30_000))
  const tone = TONES[sentence.tone]
  return (
    <Paper withBorder className={`${classes.card} ${classes.head}`} data-tone={sentence.tone}>
      <ThemeIcon color={tone.colour} variant="light" size={48} radius="xl" className={classes.mark}>
        <Icon name={tone.icon} size={26} />
      </ThemeIcon>
      <div className={classes.headText}>
        <Title order={2} size="h3">
          {sentence.heading}
        </Title>
        <Evidence sentence={sentence} />
        {sentence.advice !== null && !(isFollowed && sentence.tone === 'busy') && (
          <Text size="sm" mt={6}>
            {sentence.advice}
          </Text>
        )}
      </div>
      <div className={classes.headActions}>
        {onShowProgress !== undefined && (
          <Button variant="default" size="md" onClick={onShowProgress}>
            Show progress
          </Button>
        )}
        {sentence.tone !== 'busy' && (
          <Button size="md" leftSection={<Icon name="plus" />} loading={isBusy} onClick={onCreate}>
            Create backup
          </Button>
        )}
      </div>
    </Paper>
  )
}

function Evidence({ sentence: { tone, at, evidence } }: { sentence: StateSentence }) {
  if (tone === 'good') {
    return (
      <Text c="dimmed" mt={4}>
        {at !== null && <Time value={at} />}
        {evidence.map((part) => (
          <Fragment key={part}>
            {' '}
            <span className={classes.part}>· {part}</span>
          </Fragment>
        ))}
      </Text>
    )
  }
  const label = { good: '', look: 'As of', bad: 'Newest:', busy: 'Started', nothing: '' }[tone]
  return (
    <Text c="dimmed" mt={4}>
      {at !== null && (
        <>
          {label} <Time value={at} />.{' '}
        </>
      )}
      {evidence.join(' ')}
    </Text>
  )
}

/** The place of the head while it is being read. */
export function StateHeadSkeleton() {
  return (
    <Paper withBorder className={`${classes.card} ${classes.head}`} aria-hidden="true">
      <Skeleton circle height={48} />
      <div className={classes.headText}>
        <Skeleton height={26} width="60%" maw={320} />
        <Skeleton height={16} mt={10} width="80%" maw={420} />
      </div>
      <Skeleton height={42} width={160} className={classes.headActions} />
    </Paper>
  )
}
