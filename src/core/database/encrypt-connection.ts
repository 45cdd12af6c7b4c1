const THIS_MACHINE = /^(localhost|127(\.\d+){3}|\[?::1\]?|)$/

/**
 * The database URL with its encryption settled. Whatever leaves this machine is encrypted unless the URL
 * says `sslmode=disable`; left to itself the driver would send everything in the clear. `sslmode` means
 * what it means to psql: `require` encrypts, `verify-full` also checks who answers (with `sslrootcert`
 * where the certificate is signed by the provider itself, as Supabase's is).
 */
export function encryptConnection(url: string): string {
  const parsed = new URL(url)
  const { searchParams } = parsed
  if (!searchParams.has('sslmode')) {
    if (THIS_MACHINE.test(parsed.hostname)) return url
    searchParams.set('sslmode', 'require')
  }
  // Without it the driver takes `require` for `verify-full`, and refuses Supabase's own certificate.
  if (searchParams.get('sslmode') !== 'no-verify') searchParams.set('uselibpqcompat', 'true')
  return parsed.href
}
