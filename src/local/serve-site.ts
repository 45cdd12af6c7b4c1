import { join } from 'node:path'
import type { DemoLogin } from './describe-demo.ts'
import { REPOSITORY } from './migrations.ts'

/**
 * Serves the page with Vite and the functions with Netlify's plugin, on one port. The functions see
 * `environment` as their own, as on Netlify; the page sees two public values of it (src/page/vite.config.ts),
 * and who can sign in to the demonstration, which no build contains.
 */
export async function serveSite(
  port: number,
  environment: Record<string, string>,
  logins: readonly DemoLogin[],
): Promise<{ stop: () => Promise<void> }> {
  Object.assign(process.env, environment)
  const { createServer } = await import('vite')
  const listeners = new Set(process.listeners('SIGTERM'))
  const server = await createServer({
    configFile: join(REPOSITORY, 'src', 'page', 'vite.config.ts'),
    configLoader: 'native',
    logLevel: 'warn',
    clearScreen: false,
    define: { DEMO_LOGINS: JSON.stringify(logins) },
    server: { host: '127.0.0.1', port, strictPort: true },
  })
  // Vite would end the process on a signal, in the middle of our stopping the rest.
  for (const listener of process.listeners('SIGTERM')) {
    if (!listeners.has(listener)) process.off('SIGTERM', listener)
  }
  await server.listen()
  return { stop: () => server.close() }
}
