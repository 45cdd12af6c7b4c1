import { Button, Group, Modal, Stack, Text, Textarea, TextInput } from '@mantine/core'
import { useForm } from '@mantine/form'
import classes from './page.module.css'
import { type BackupRequest, MAX_NAME, MAX_NOTE } from './start-backup.ts'

/** Asks for a name and a note, both optional, and checks them as they are typed. */
export function CreateBackupDialog({
  tenantName,
  isOpen,
  onClose,
  onCreate,
}: {
  tenantName: string
  isOpen: boolean
  onClose: () => void
  onCreate: (request: BackupRequest) => void
}) {
  return (
    <Modal
      opened={isOpen}
      onClose={onClose}
      title="Create backup"
      classNames={{ title: classes.dialogTitle }}
      closeButtonProps={{ 'aria-label': 'Close' }}
      size="md"
    >
      <BackupForm tenantName={tenantName} onClose={onClose} onCreate={onCreate} />
    </Modal>
  )
}

/** Its own component, so that it begins empty each time the dialog opens. */
function BackupForm({
  tenantName,
  onClose,
  onCreate,
}: {
  tenantName: string
  onClose: () => void
  onCreate: (request: BackupRequest) => void
}) {
  const form = useForm<BackupRequest>({
    initialValues: { name: '', note: '', tags: [] },
    validateInputOnChange: true,
    validate: {
      name: (value) => checkLength(value, 'Name', MAX_NAME),
      note: (value) => checkLength(value, 'Note', MAX_NOTE),
    },
  })
  return (
    <form
      noValidate
      onSubmit={form.onSubmit(
        ({ name, note, tags }) => onCreate({ name: name.trim(), note: note.trim(), tags }),
        (errors) => {
          const first = Object.keys(errors)[0]
          if (first !== undefined) form.getInputNode(first)?.focus()
        },
      )}
    >
      <Stack gap="md">
        <Text size="sm">
          A complete copy of <strong>{tenantName}</strong> as of now. Nobody is interrupted.
        </Text>
        <TextInput
          label="Name (optional)"
          description={`To find it again; ${MAX_NAME} characters at most`}
          autoComplete="off"
          data-autofocus
          {...form.getInputProps('name')}
          key={form.key('name')}
        />
        <Textarea
          label="Note (optional)"
          description="Why, for whoever reads this later"
          autosize
          minRows={2}
          maxRows={6}
          {...form.getInputProps('note')}
          key={form.key('note')}
        />
        <Group justify="flex-end" gap="sm">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit">Create backup</Button>
        </Group>
      </Stack>
    </form>
  )
}

function checkLength(value: string, label: string, max: number): string | null {
  const length = value.trim().length
  return length <= max ? null : `${label} must be ${max} characters or fewer; it has ${length}`
}
