/// <reference types="vite/client" />

interface ImportMetaEnv {
  readonly VITE_SUPABASE_URL?: string
  readonly VITE_SUPABASE_PUBLISHABLE_KEY?: string
}

/** Who can sign in to the demonstration on this machine; none in a build. */
declare const DEMO_LOGINS: readonly { email: string; password: string; what: string }[]
