import { join } from 'node:path'
import type { DemoLogin } from './describe-demo.ts'
import { REPOSITORY } from './migrations.ts'

/**
 * Serves the page with Vite and the functions with Netlify's plugin, on one port. The functions see
 * `environment` as their own, as on Netlify; the page sees two public values of it (src/page/vite.config.ts),
 * and who can sign in to the demonstration, which no build for others contains. With `builtPageFolder` the page
 * is built into it first, with React's warnings under the tests, and served from there.
 */
export async function serveSite({
  port,
  environment,
  logins,
  builtPageFolder,
}: {
  port: number
  environment: Record<string, string>
  logins: readonly DemoLogin[]
  builtPageFolder?: string | undefined
}): Promise<{ stop: () => Promise<void> }> {
  Object.assign(process.env, environment)
  const { build, createServer } = await import('vite')
  const common = {
    configFile: join(REPOSITORY, 'src', 'page', 'vite.config.ts'),
    configLoader: 'native',
    mode: 'development',
    logLevel: 'warn',
    clearScreen: false,
    define: { DEMO_LOGINS: JSON.stringify(logins) },
  } as const
  if (builtPageFolder !== undefined) {
    await build({ ...common, build: { outDir: builtPageFolder, emptyOutDir: true, minify: false } })
  }
  const listeners = new Set(process.listeners('SIGTERM'))
  const server = await createServer({
    ...common,
    ...(builtPageFolder === undefined ? {} : { root: builtPageFolder, mode: 'built' }),
    server: { host: '127.0.0.1', port, strictPort: true },
  })
  // Vite would end the process on a signal, in the middle of our stopping the rest.
  for (const listener of process.listeners('SIGTERM')) {
    if (!listeners.has(listener)) process.off('SIGTERM', listener)
  }
  await server.listen()
  return { stop: () => server.close() }
}
