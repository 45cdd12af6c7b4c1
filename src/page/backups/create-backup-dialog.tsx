import { Button, Group, Modal, Stack, Text } from '@mantine/core'
import classes from '../frame/page.module.css'
import { BackupFields, focusFirstError, trimRequest, useBackupForm } from './backup-form.tsx'
import type { BackupRequest } from './start-backup.ts'

interface CreateBackupDialogProps {
  tenantName: string
  /** A backup of the template is a version of the defaults. */
  word?: 'backup' | 'version'
  isOpen: boolean
  onClose: () => void
  onCreate: (request: BackupRequest) => void
}

/** Asks for a name, a note and tags, all optional, and checks them as they are typed. */
export function CreateBackupDialog({ isOpen, word = 'backup', ...props }: CreateBackupDialogProps) {
  return (
    <Modal
      opened={isOpen}
      onClose={props.onClose}
      title={`Create ${word}`}
      classNames={{ title: classes.dialogTitle }}
      closeButtonProps={{ 'aria-label': 'Close' }}
      size="md"
    >
      <CreateBackupForm {...props} word={word} />
    </Modal>
  )
}

/** Its own component, so that it begins empty each time the dialog opens. */
function CreateBackupForm({
  tenantName,
  word,
  onClose,
  onCreate,
}: Omit<CreateBackupDialogProps, 'isOpen'>) {
  const form = useBackupForm({ name: '', note: '', tags: [] })
  return (
    <form
      noValidate
      onSubmit={form.onSubmit(
        (values) => onCreate(trimRequest(values)),
        (errors) => focusFirstError(form, errors),
      )}
    >
      <Stack gap="md">
        <Text size="sm">
          A complete copy of <strong>{tenantName}</strong> as of now. Nobody is interrupted.
        </Text>
        <BackupFields form={form} />
        <Group justify="flex-end" gap="sm">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit">Create {word}</Button>
        </Group>
      </Stack>
    </form>
  )
}
