import { Button, CopyButton, Paper, Skeleton, Text, ThemeIcon, Title } from '@mantine/core'
import { Icon } from '../frame/icons.tsx'
import classes from '../frame/page.module.css'
import { NearTime, Time, useNow } from '../frame/times.tsx'
import { describeState, type StateSentence, TONES, type Words } from './describe-state.ts'
import type { State } from './read-state.ts'
import head from './state-head.module.css'

interface StateHeadProps {
  state: State
  /** A backup was asked for and the service has not answered yet. */
  isBusy: boolean
  /** When this was read, where reading it again fails at the moment. */
  staleSince: Date | null
  onCreate: () => void
  /** Given while something runs on this tenant whose progress is not on the page yet. */
  onShowProgress: (() => void) | undefined
}

/** Whether the data is safe, in one sentence, with what to press. */
export function StateHead({ state, isBusy, staleSince, onCreate, onShowProgress }: StateHeadProps) {
  const sentence = describeState(state, useNow(30_000))
  const tone = TONES[sentence.tone]
  return (
    <Paper withBorder className={`${classes.card} ${head.head}`} data-tone={sentence.tone}>
      <ThemeIcon color={tone.colour} variant="light" size={48} radius="xl" className={head.mark}>
        <Icon name={tone.icon} size={26} />
      </ThemeIcon>
      <div className={head.text}>
        <Title order={2} size="h3">
          {sentence.heading}
        </Title>
        {sentence.lines
          .filter((line) => line.length > 0)
          .map((line, index) => (
            // Lines have no names of their own, and never change places.
            // biome-ignore lint/suspicious/noArrayIndexKey: see above
            <Text key={index} c="dimmed" mt={index === 0 ? 4 : 2}>
              <Line words={line} />
            </Text>
          ))}
        {staleSince !== null && (
          <Text size="sm" c="dimmed" mt={6}>
            As of <Time value={staleSince} />; trying again.
          </Text>
        )}
      </div>
      <Actions
        sentence={sentence}
        gaps={state.newestBackup?.gaps ?? []}
        isBusy={isBusy}
        onCreate={onCreate}
        onShowProgress={onShowProgress}
      />
    </Paper>
  )
}

function Actions({
  sentence: { action },
  gaps,
  isBusy,
  onCreate,
  onShowProgress,
}: {
  sentence: StateSentence
  gaps: string[]
  isBusy: boolean
  onCreate: () => void
  onShowProgress: (() => void) | undefined
}) {
  if (action === 'none' || (action === 'progress' && onShowProgress === undefined)) return null
  if (action === 'progress') {
    return (
      <div className={head.actions}>
        <Button size="md" variant="default" onClick={onShowProgress}>
          Show progress
        </Button>
      </div>
    )
  }
  return (
    <div className={head.actions}>
      {action === 'copy_tables' && (
        <CopyButton value={gaps.join('\n')}>
          {({ copied, copy }) => (
            <Button size="md" onClick={copy}>
              {copied ? 'Names copied' : 'Copy names for your administrator'}
            </Button>
          )}
        </CopyButton>
      )}
      <Button
        size="md"
        variant={action === 'copy_tables' ? 'default' : 'filled'}
        leftSection={<Icon name="plus" />}
        loading={isBusy}
        onClick={onCreate}
      >
        {action === 'create_now' ? 'Create backup now' : 'Create backup'}
      </Button>
    </div>
  )
}

function Line({ words }: { words: Words }) {
  return words.map((word, index) => {
    const key = `${index}`
    if (word instanceof Date) return <Time key={key} value={word} />
    return typeof word === 'string' ? word : <NearTime key={key} value={word.near} />
  })
}

/** The place of the head while it is being read. */
export function StateHeadSkeleton() {
  return (
    <Paper withBorder className={`${classes.card} ${head.head}`} aria-hidden="true">
      <Skeleton circle height={48} />
      <div className={head.text}>
        <Skeleton height={29} width="60%" maw={320} />
        <Skeleton height={20} mt={6} width="80%" maw={420} />
        <Skeleton height={20} mt={6} width="50%" maw={300} />
      </div>
      <Skeleton height={42} width={160} className={head.actions} />
    </Paper>
  )
}
