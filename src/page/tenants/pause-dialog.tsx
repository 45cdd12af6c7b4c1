import { Button, Group, Modal, Stack, Text, Textarea } from '@mantine/core'
import { useForm } from '@mantine/form'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import type { PageServices } from '../calls/call-function.ts'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatCount } from '../frame/format.ts'
import classes from '../frame/page.module.css'
import { MAX_PAUSE_REASON, pauseTenant, resumeTenant } from './pause-tenant.ts'
import type { ListedTenant } from './read-tenants.ts'

interface PauseDialogProps {
  services: PageServices
  tenant: ListedTenant
  action: 'pause' | 'resume'
  isOpen: boolean
  onClose: () => void
  announce: (text: string) => void
}

/** Asks why the daily backups of a tenant are to stop, or whether they are to go on. */
export default function PauseDialog({ isOpen, ...props }: PauseDialogProps) {
  const { tenant, action, onClose } = props
  const { name } = tenant
  return (
    <Modal
      opened={isOpen}
      onClose={onClose}
      title={action === 'pause' ? `Pause the backups of ${name}` : `Resume the backups of ${name}`}
      classNames={{ title: classes.dialogTitle }}
      closeButtonProps={{ 'aria-label': 'Close' }}
      size="md"
      returnFocus={false}
    >
      {action === 'pause' ? <Pause {...props} /> : <Resume {...props} />}
    </Modal>
  )
}

type ContentProps = Omit<PauseDialogProps, 'isOpen'>

function Pause(props: ContentProps) {
  const { services, tenant, onClose } = props
  const change = useChange(props, (reason: string) => pauseTenant(services, tenant.id, reason))
  const form = useForm({
    initialValues: { reason: '' },
    validate: {
      reason: (value) =>
        value.trim() === ''
          ? 'Say why: the owner reads it, and it is in the history'
          : value.trim().length > MAX_PAUSE_REASON
            ? `The reason must be ${formatCount(MAX_PAUSE_REASON)} characters or fewer`
            : null,
    },
  })
  return (
    <form
      noValidate
      onSubmit={form.onSubmit(
        ({ reason }) => change.mutate(reason.trim()),
        () => form.getInputNode('reason')?.focus(),
      )}
    >
      <Stack gap="md">
        <Text size="sm">
          No daily backup is taken until somebody resumes them. Backups that exist stay; backups by
          hand and restores are still possible.
        </Text>
        <Textarea
          label="Why?"
          description="The owner of the tenant reads this"
          autosize
          minRows={2}
          maxRows={6}
          data-autofocus
          {...form.getInputProps('reason')}
          key={form.key('reason')}
        />
        {change.error !== null && (
          <ErrorNotice error={change.error} what="The backups were not paused" />
        )}
        <Buttons label="Pause the backups" isBusy={change.isPending} onCancel={onClose} />
      </Stack>
    </form>
  )
}

function Resume(props: ContentProps) {
  const { services, tenant, onClose } = props
  const { reason } = tenant.state
  const change = useChange(props, () => resumeTenant(services, tenant.id))
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        change.mutate('')
      }}
    >
      <Stack gap="md">
        <Text size="sm">The next daily run takes a backup of it again.</Text>
        {reason !== null && (
          <Text size="sm" className={classes.note}>
            {reason}
          </Text>
        )}
        {change.error !== null && (
          <ErrorNotice error={change.error} what="The backups were not resumed" />
        )}
        <Buttons label="Resume the backups" isBusy={change.isPending} onCancel={onClose} />
      </Stack>
    </form>
  )
}

/** Changes it, then closes the dialog; what stays open says why it failed. */
function useChange(
  { tenant, action, onClose, announce }: ContentProps,
  act: (reason: string) => Promise<void>,
) {
  const queries = useQueryClient()
  return useMutation({
    mutationFn: act,
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ['tenants'] })
      for (const key of ['state', 'history']) {
        void queries.invalidateQueries({ queryKey: [key, tenant.id] })
      }
      onClose()
      announce(action === 'pause' ? 'Paused.' : 'Resumed.')
    },
  })
}

function Buttons({
  label,
  isBusy,
  onCancel,
}: {
  label: string
  isBusy: boolean
  onCancel: () => void
}) {
  return (
    <Group justify="flex-end" gap="sm">
      <Button variant="default" onClick={onCancel}>
        Cancel
      </Button>
      <Button type="submit" loading={isBusy}>
        {label}
      </Button>
    </Group>
  )
}
