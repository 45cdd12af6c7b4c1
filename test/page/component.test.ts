import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'vite'
import { afterAll, beforeAll, expect, test } from 'vitest'

const REPOSITORY = join(import.meta.dirname, '..', '..')
const run = promisify(execFile)

/** A host application at its smallest: it has its own routes, and its own guard before ours. */
const HOST = {
  'index.html':
    '<!doctype html><div id="root"></div><script type="module" src="/main.tsx"></script>',
  'main.tsx': `
    import '@mantine/core/styles.css'
    import 'tenantkeep/page.css'
    import { createClient, type SupabaseClient } from '@supabase/supabase-js'
    import type { ReactNode } from 'react'
    import { createRoot } from 'react-dom/client'
    import { BrowserRouter, Navigate, Route, Routes } from 'react-router'
    import { TenantBackupRestore, type TenantBackupRestoreProps } from 'tenantkeep/page'

    const supabase: SupabaseClient = createClient('https://example.supabase.co', 'publishable')

    function RoleProtectedRoute({ role, children }: { role: string; children: ReactNode }) {
      return role === 'owner' ? children : <Navigate to="/" />
    }

    const props: TenantBackupRestoreProps = {
      supabase,
      functionsUrl: 'https://backups.example.com/.netlify/functions',
      organizationId: 'a0000000-0000-4000-8000-000000000001',
      onSignInRequired: () => window.location.assign('/sign-in'),
    }

    createRoot(document.body).render(
      <BrowserRouter>
        <Routes>
          <Route
            path="/settings/backups"
            element={
              <RoleProtectedRoute role="owner">
                <TenantBackupRestore {...props} />
              </RoleProtectedRoute>
            }
          />
        </Routes>
      </BrowserRouter>,
    )
    // @ts-expect-error The types are there, and know what is needed.
    export const withoutClient = <TenantBackupRestore functionsUrl="" />
  `,
  'css.d.ts': "declare module '*.css'",
  'tsconfig.json': JSON.stringify({
    compilerOptions: {
      target: 'es2022',
      lib: ['es2024', 'dom', 'dom.iterable'],
      module: 'esnext',
      moduleResolution: 'bundler',
      types: [],
      jsx: 'react-jsx',
      strict: true,
      skipLibCheck: true,
      noEmit: true,
    },
    include: ['*.ts', '*.tsx'],
  }),
}

let host: string

beforeAll(async () => {
  host = await mkdtemp(join(tmpdir(), 'tenantkeep-host-'))
  const packages = join(host, 'node_modules')
  await mkdir(packages)
  for (const name of await readdir(join(REPOSITORY, 'node_modules'))) {
    await symlink(join(REPOSITORY, 'node_modules', name), join(packages, name))
  }
  // As it is installed: what the build makes, and the package's own description.
  const own = join(packages, 'tenantkeep')
  await mkdir(own)
  await cp(join(REPOSITORY, 'package.json'), join(own, 'package.json'))
  const configuration = join(REPOSITORY, 'src', 'page', 'vite.component.config.ts')
  await build({
    configFile: configuration,
    configLoader: 'native',
    logLevel: 'error',
    build: { outDir: join(own, 'component') },
  })
  await runTsc(join(REPOSITORY, 'src', 'page', 'tsconfig.component.json'), [
    '--outDir',
    join(own, 'component'),
  ])
  for (const [name, content] of Object.entries(HOST)) await writeFile(join(host, name), content)
}, 120_000)

afterAll(() => rm(host, { recursive: true, force: true }))

test('the types of a host that mounts the page behind its own guard fit', async () => {
  await runTsc(join(host, 'tsconfig.json'), [])
})

test('a host builds it, and its views stay files of their own that are loaded on demand', async () => {
  await build({
    root: host,
    configFile: false,
    logLevel: 'error',
    build: { outDir: join(host, 'dist'), rolldownOptions: { preserveEntrySignatures: false } },
  })
  const files = await readdir(join(host, 'dist', 'assets'))
  expect(files.filter((name) => /^(compare|restore|undo)-view.*\.js$/.test(name))).toHaveLength(3)
  expect(files.some((name) => name.endsWith('.css'))).toBe(true)
})

test('styles nothing of the host outside the page', async () => {
  const css = await readFile(
    join(host, 'node_modules', 'tenantkeep', 'component', 'page.css'),
    'utf8',
  )
  expect(css).toContain('--tenantkeep-card')
  expect(css).not.toMatch(/(^|})\s*(body|html|\*)\s*{/)
})

/** Rejects with what the compiler says. */
async function runTsc(project: string, options: string[]): Promise<void> {
  const compiler = join(REPOSITORY, 'node_modules', 'typescript', 'bin', 'tsc')
  await run(process.execPath, [compiler, '-p', project, ...options]).catch(
    (error: { stdout?: string }) => {
      throw new Error(error.stdout ?? 'The compiler did not start.')
    },
  )
}
