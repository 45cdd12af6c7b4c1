import { Button, Group, Modal, Progress, Stack, Text, Textarea } from '@mantine/core'
import { useForm } from '@mantine/form'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import type { PageServices } from '../calls/call-function.ts'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatBytes, formatPlural } from '../frame/format.ts'
import classes from '../frame/page.module.css'
import { Time } from '../frame/times.tsx'
import { takenAt } from '../state/describe-state.ts'
import { readState } from '../state/read-state.ts'
import {
  BackupFields,
  checkLength,
  focusFirstError,
  trimRequest,
  useBackupForm,
} from './backup-form.tsx'
import type { BackupAction } from './backup-menu.tsx'
import { isHeld } from './backup-words.ts'
import { describeDownload } from './describe-download.ts'
import type { Backup } from './read-backups.ts'
import { type BackupChange, MAX_PIN_REASON, updateBackup } from './update-backup.ts'

interface BackupDialogProps {
  services: PageServices
  backup: Backup
  action: BackupAction
  isOpen: boolean
  onClose: () => void
  announce: (text: string) => void
}

const TITLES: Record<BackupAction, string> = {
  download: 'Download this backup',
  pin: 'Pin this backup',
  unpin: 'Unpin this backup',
  edit: 'Edit note and tags',
}

/** What is asked before a backup is downloaded, pinned, unpinned or described anew. */
export function BackupDialog({ isOpen, ...props }: BackupDialogProps) {
  const { action, backup, onClose } = props
  const Content = { download: Download, pin: Pin, unpin: Unpin, edit: Edit }[action]
  return (
    <Modal
      opened={isOpen}
      onClose={onClose}
      title={TITLES[action]}
      classNames={{ title: classes.dialogTitle }}
      closeButtonProps={{ 'aria-label': 'Close' }}
      size="md"
      returnFocus={false}
    >
      <Stack gap="md">
        <Text size="sm" c="dimmed">
          The backup of <Time value={takenAt(backup)} />
          {backup.name === null ? '' : `, “${backup.name}”`}
        </Text>
        <Content {...props} />
      </Stack>
    </Modal>
  )
}

type ContentProps = Omit<BackupDialogProps, 'isOpen'>

function Edit(props: ContentProps) {
  const { backup, onClose } = props
  const change = useChange(props, 'Saved.')
  const form = useBackupForm({
    name: backup.name ?? '',
    note: backup.note ?? '',
    tags: backup.tags,
  })
  return (
    <form
      noValidate
      onSubmit={form.onSubmit(
        (values) => {
          const { name, note, tags } = trimRequest(values)
          change.mutate({ name: emptyToNull(name), note: emptyToNull(note), tags })
        },
        (errors) => focusFirstError(form, errors),
      )}
    >
      <Stack gap="md">
        <BackupFields form={form} />
        <Failure error={change.error} what="The note was not saved" />
        <Buttons onCancel={onClose} label="Save note and tags" isBusy={change.isPending} />
      </Stack>
    </form>
  )
}

function Pin(props: ContentProps) {
  const change = useChange(props, 'Pinned: this backup will not be pruned.')
  const form = useForm({
    initialValues: { reason: '' },
    validate: {
      reason: (value) =>
        value.trim() === ''
          ? 'Say why, so that somebody can lift the pin later'
          : checkLength(value, 'The reason', MAX_PIN_REASON),
    },
  })
  return (
    <form
      noValidate
      onSubmit={form.onSubmit(
        ({ reason }) => change.mutate({ pin: { reason: reason.trim() } }),
        () => form.getInputNode('reason')?.focus(),
      )}
    >
      <Stack gap="md">
        <Text size="sm">A pinned backup is kept until somebody unpins it.</Text>
        <Textarea
          label="Why should it be kept?"
          description="Everybody who sees the backup sees this"
          autosize
          minRows={2}
          maxRows={6}
          data-autofocus
          {...form.getInputProps('reason')}
          key={form.key('reason')}
        />
        <Failure error={change.error} what="The backup was not pinned" />
        <Buttons onCancel={props.onClose} label="Pin this backup" isBusy={change.isPending} />
      </Stack>
    </form>
  )
}

function Unpin(props: ContentProps) {
  const { services, backup, onClose } = props
  const change = useChange(props, 'Unpinned.')
  const state = useQuery({
    queryKey: ['state', backup.tenantId],
    queryFn: ({ signal }) => readState(services, backup.tenantId, signal),
  })
  if (isHeld(backup) && state.data?.viewer.isOperator !== true) {
    return (
      <>
        <Text size="sm">
          {backup.pinnedBy ?? 'An operator'} holds this backup, so it is kept whatever the rules
          say. Only operators, who run this service, can lift the hold: ask them.
        </Text>
        <Text size="sm" className={classes.note}>
          It is held for this reason: “{backup.pinReason}”
        </Text>
        <Group justify="flex-end">
          <Button onClick={onClose} data-autofocus>
            Close
          </Button>
        </Group>
      </>
    )
  }
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        change.mutate({ pin: null })
      }}
    >
      <Stack gap="md">
        <Text size="sm">
          Without its pin it is pruned as soon as its time is over, which may be today.
        </Text>
        {backup.pinReason !== null && (
          <Text size="sm" className={classes.note}>
            It was pinned for this reason: “{backup.pinReason}”
          </Text>
        )}
        <Failure error={change.error} what="The backup was not unpinned" />
        <Buttons
          onCancel={onClose}
          label="Unpin this backup"
          isBusy={change.isPending}
          isCancelFirst
        />
      </Stack>
    </form>
  )
}

function Download({ services, backup, onClose, announce }: ContentProps) {
  const [status, setStatus] = useState<{ text: string; percent: number } | null>(null)
  const download = useMutation({
    mutationFn: async () => {
      setStatus({ text: 'Preparing the file', percent: 0 })
      const described = await describeDownload(services, backup.id)
      // Loaded when it is needed: most people never download.
      const { makeArchive, saveFile } = await import('./make-archive.ts')
      const total = described.parts.length
      const file = await makeArchive(described, {
        onProgress: (done) =>
          setStatus({
            text: `Loaded ${done} of ${formatPlural(total, 'file')}`,
            percent: (done / total) * 100,
          }),
      })
      saveFile(file, described.fileName)
      return described.fileName
    },
    onSuccess: (fileName) => announce(`Saved ${fileName}.`),
  })
  if (download.isSuccess) {
    return (
      <>
        <Text size="sm">
          Saved as <strong className={classes.note}>{download.data}</strong>. The file holds
          personal data: keep it accordingly.
        </Text>
        <Group justify="flex-end">
          <Button onClick={onClose} data-autofocus>
            Close
          </Button>
        </Group>
      </>
    )
  }
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        if (!download.isPending) download.mutate()
      }}
    >
      <Stack gap="md">
        <Text size="sm">
          One zip with all rows of this tenant, not encrypted. It holds personal data: keep it safe.
        </Text>
        {download.isPending && (
          <div>
            <Text size="sm" mb={6} role="status">
              {status?.text}
            </Text>
            <Progress value={status?.percent ?? 0} aria-hidden="true" />
          </div>
        )}
        <Failure error={download.error} what="The backup could not be downloaded" />
        <Buttons
          onCancel={onClose}
          label={
            backup.totalSize === null ? 'Download' : `Download ${formatBytes(backup.totalSize)}`
          }
          isBusy={download.isPending}
        />
      </Stack>
    </form>
  )
}

/** Changes the backup, then closes the dialog; what stays open says why it failed. */
function useChange({ services, backup, onClose, announce }: ContentProps, done: string) {
  const queries = useQueryClient()
  return useMutation({
    mutationFn: (change: BackupChange) => updateBackup(services, backup.id, change),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ['backups', backup.tenantId] })
      for (const key of ['timeline', 'history']) {
        void queries.invalidateQueries({ queryKey: [key, backup.tenantId] })
      }
      onClose()
      announce(done)
    },
  })
}

function Failure({ error, what }: { error: unknown; what: string }) {
  return error === null ? null : <ErrorNotice error={error} what={what} />
}

function Buttons({
  onCancel,
  label,
  isBusy,
  isCancelFirst = false,
}: {
  onCancel: () => void
  label: string
  isBusy: boolean
  /** The harmless one gets the focus. */
  isCancelFirst?: boolean
}) {
  return (
    <Group justify="flex-end" gap="sm">
      <Button
        variant="default"
        onClick={onCancel}
        {...(isCancelFirst ? { 'data-autofocus': true } : {})}
      >
        Cancel
      </Button>
      <Button type="submit" loading={isBusy}>
        {label}
      </Button>
    </Group>
  )
}

function emptyToNull(text: string): string | null {
  return text === '' ? null : text
}
