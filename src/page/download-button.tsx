import { Button, Text } from '@mantine/core'
import { useMutation } from '@tanstack/react-query'
import { useState } from 'react'
import type { PageServices } from './call-function.ts'
import { describeDownload } from './describe-download.ts'
import { describeError } from './describe-error.ts'
import { takenAt } from './describe-state.ts'
import { formatExactUtc, formatPlural } from './format.ts'
import type { Backup } from './read-backups.ts'

/** Makes one zip of a backup in the browser and saves it; says how far it is, or what went wrong. */
export function DownloadButton({ services, backup }: { services: PageServices; backup: Backup }) {
  const [status, setStatus] = useState('')
  const download = useMutation({
    mutationFn: async () => {
      setStatus('Preparing the download…')
      const described = await describeDownload(services, backup.id)
      // Loaded when it is needed: most people never download.
      const { makeArchive, saveFile } = await import('./make-archive.ts')
      const total = described.parts.length
      const file = await makeArchive(described, {
        onProgress: (done) => setStatus(`Loaded ${done} of ${formatPlural(total, 'file')}`),
      })
      saveFile(file, described.fileName)
    },
    onSuccess: () => setStatus('Saved. The file holds personal data: keep it accordingly.'),
  })
  const failure = download.isError
    ? describeError(download.error, 'The backup could not be downloaded')
    : null
  return (
    <div>
      <Button
        size="compact-xs"
        variant="subtle"
        ml={-8}
        loading={download.isPending}
        aria-label={`Download the backup of ${formatExactUtc(takenAt(backup))}`}
        onClick={() => download.mutate()}
      >
        Download
      </Button>
      <Text size="xs" c="dimmed" role="status">
        {failure === null ? status : ''}
      </Text>
      {failure !== null && (
        <Text size="xs" role="alert">
          {failure.title}. {failure.text}
        </Text>
      )}
    </div>
  )
}
