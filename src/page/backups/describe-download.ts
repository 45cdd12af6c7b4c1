import * as z from 'zod/mini'
import { callFunction, check, count, type PageServices } from '../calls/call-function.ts'

const Part = z.pipe(
  z.object({ name: z.string(), url: z.url(), raw_bytes: count, raw_sha256: z.string() }),
  z.transform(({ raw_bytes: rawBytes, raw_sha256: rawSha256, ...part }) => ({
    ...part,
    rawBytes,
    rawSha256,
  })),
)

const Download = z.pipe(
  z.object({
    file_name: z.string(),
    readme: z.object({ name: z.string(), text: z.string() }),
    summary: z.object({ name: z.string(), url: z.url() }),
    parts: z.array(Part),
  }),
  z.transform(({ file_name: fileName, ...download }) => ({ ...download, fileName })),
)
export type Download = z.infer<typeof Download>

/** What an archive of a backup is made from: URLs of its objects, good for some minutes. */
export async function describeDownload(
  services: PageServices,
  backupId: string,
): Promise<Download> {
  return check(Download, await callFunction(services, 'export-backup', { backup_id: backupId }))
}
