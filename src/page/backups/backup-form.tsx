import { TagsInput, Textarea, TextInput } from '@mantine/core'
import { useForm } from '@mantine/form'
import { type BackupRequest, MAX_NAME, MAX_NOTE, MAX_TAG, MAX_TAGS } from './start-backup.ts'

/** The form in which people say something about a backup, checked as they type. */
export function useBackupForm(initialValues: BackupRequest) {
  return useForm({
    initialValues,
    validateInputOnChange: true,
    validate: {
      name: (value) => checkLength(value, 'Name', MAX_NAME),
      note: (value) => checkLength(value, 'Note', MAX_NOTE),
      tags: checkTags,
    },
  })
}
type BackupForm = ReturnType<typeof useBackupForm>

export function BackupFields({ form }: { form: BackupForm }) {
  return (
    <>
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
      <TagsInput
        label="Tags (optional)"
        description="Enter or a comma ends a tag"
        splitChars={[',', ' ']}
        acceptValueOnBlur
        {...form.getInputProps('tags')}
        key={form.key('tags')}
      />
    </>
  )
}

/** As it is sent: without outer spaces. */
export function trimRequest({ name, note, tags }: BackupRequest): BackupRequest {
  return { name: name.trim(), note: note.trim(), tags }
}

/** Puts the focus into the first field that is wrong. */
export function focusFirstError(form: BackupForm, errors: Record<string, unknown>): void {
  const first = Object.keys(errors)[0]
  if (first !== undefined) form.getInputNode(first)?.focus()
}

export function checkLength(value: string, label: string, max: number): string | null {
  const length = value.trim().length
  return length <= max ? null : `${label} must be ${max} characters or fewer; it has ${length}`
}

function checkTags(tags: string[]): string | null {
  if (tags.length > MAX_TAGS) return `At most ${MAX_TAGS} tags; there are ${tags.length}`
  if (tags.some((tag) => tag.length > MAX_TAG))
    return `A tag must be ${MAX_TAG} characters or fewer`
  return tags.every((tag) => /^[\p{L}\p{N}-]+$/u.test(tag))
    ? null
    : 'A tag may use letters, digits and hyphens'
}
