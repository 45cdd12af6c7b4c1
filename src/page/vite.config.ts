import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { createRequire, registerHooks } from 'node:module'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import react from '@vitejs/plugin-react'
import { defineConfig, type Plugin, type ViteDevServer } from 'vite'

const page = import.meta.dirname
const repository = join(page, '..', '..')

/**
 * Marks the styles and scripts that Vite writes into the page while one develops; nothing else inline runs,
 * so that what the policy of a build would refuse is refused here too.
 */
const nonce = randomBytes(16).toString('base64url')

/**
 * The page is built from `src/page`. Of the environment it gets two values, both public: the URL of the
 * Supabase project and its publishable key. No other variable can reach it, whatever its name.
 */
export default defineConfig(({ command, mode }) => ({
  root: page,
  envDir: false,
  envPrefix: ['VITE_SUPABASE_URL', 'VITE_SUPABASE_PUBLISHABLE_KEY'],
  define: {
    // Who can sign in to the demonstration; `npm start` puts them here, and a build has none.
    DEMO_LOGINS: '[]',
    'import.meta.env.VITE_SUPABASE_URL': JSON.stringify(
      process.env.SUPABASE_URL ?? process.env.VITE_SUPABASE_URL ?? '',
    ),
    'import.meta.env.VITE_SUPABASE_PUBLISHABLE_KEY': JSON.stringify(
      process.env.SUPABASE_PUBLISHABLE_KEY ?? process.env.VITE_SUPABASE_PUBLISHABLE_KEY ?? '',
    ),
  },
  cacheDir: join(repository, 'node_modules', '.vite'),
  build: { outDir: join(repository, 'dist'), emptyOutDir: true },
  ...(command === 'serve' ? { html: { cspNonce: nonce } } : {}),
  plugins: [
    // What is built already has nothing left for it to do (src/local/serve-site.ts).
    command === 'serve' && mode === 'built' ? [] : react(),
    serveFunctions(),
    adaptPolicyToDevelopment(),
    guardFirstLoad(),
  ],
}))

/** The functions of `netlify/functions` behind the page's own server, as Netlify serves them. */
function serveFunctions(): Plugin {
  return {
    name: 'tenantkeep:functions',
    apply: 'serve',
    async configureServer(server) {
      // The plugin takes the root of the page for that of the repository, where netlify.toml is; and it
      // applies the headers of netlify.toml to files that it finds itself.
      const config = new Proxy(server.config, {
        get: (target, name) => {
          if (name === 'root') return repository
          return Reflect.get(target, name === 'publicDir' ? 'root' : name)
        },
      })
      const seen = new Proxy(server, {
        get: (target, name) => (name === 'config' ? config : Reflect.get(target, name)),
      })
      server.middlewares.use((_request, response, next) => {
        dropFetchTiming(response)
        next()
      })
      adaptNetlifyBundler()
      const { default: netlify } = await import('@netlify/vite-plugin')
      const plugins: unknown[] = netlify({
        blobs: { enabled: false },
        database: { enabled: false },
        edgeFunctions: { enabled: false },
        environmentVariables: { enabled: false },
        images: { enabled: false },
        // Vite serves the page at its address by itself, and with the scripts that it adds.
        redirects: { enabled: false },
      })
      for (const plugin of plugins) {
        if (isServerPlugin(plugin)) await plugin.configureServer(seen)
      }
    },
  }
}

/**
 * The emulator lists every request that a function made in one header. A backup makes hundreds, and
 * clients refuse a header of that length.
 */
function dropFetchTiming(response: ServerResponse): void {
  const setHeader = response.setHeader.bind(response)
  response.setHeader = (name, value) =>
    name.toLowerCase() === 'x-nf-fetch-timing' ? response : setHeader(name, value)
}

/**
 * Three changes to how Netlify's emulator finds its modules. Its bundler brings TypeScript 5, but a package
 * that it uses is installed beside ours, version 7, which has another programming interface: loading it ends
 * in an error. And its bundler and the tracer of that do work here that is not needed (`STAND_INS`).
 */
function adaptNetlifyBundler(): void {
  const bundler = createRequire(join(repository, 'node_modules', 'precinct', 'package.json'))
  const typescript = bundler.resolve('typescript')
  registerHooks({
    resolve: (specifier, context, next) => {
      const { parentURL = '' } = context
      if (specifier === 'typescript' && parentURL.includes('/ts-api-utils/')) {
        return next(typescript, context)
      }
      const resolved = next(specifier, context)
      const standIn = STAND_INS.find(
        ({ of, seenBy }) => of === specifier && parentURL.includes(`/${seenBy}/`),
      )
      if (standIn === undefined) return resolved
      return {
        ...resolved,
        url: `${standIn.url.href}?original=${encodeURIComponent(resolved.url)}`,
        format: 'module',
      }
    },
  })
}

/** Modules of ours that Netlify's emulator gets instead of what it asks for; each says why. */
const STAND_INS = [
  {
    of: '@vercel/nft',
    seenBy: 'zip-it-and-ship-it',
    url: new URL('../local/trace-own-files.mjs', import.meta.url),
  },
  {
    of: '@netlify/zip-it-and-ship-it',
    seenBy: 'functions-dev',
    url: new URL('../local/bundle-what-changed.mjs', import.meta.url),
  },
]

function isServerPlugin(
  plugin: unknown,
): plugin is { configureServer: (server: ViteDevServer) => Promise<void> } {
  return typeof plugin === 'object' && plugin !== null && 'configureServer' in plugin
}

/** Vite's own styles and scripts are inline, and it reloads by a socket: allowed here, never in a build. */
function adaptPolicyToDevelopment(): Plugin {
  return {
    name: 'tenantkeep:development-policy',
    apply: 'serve',
    configureServer(server) {
      server.middlewares.use((_request, response, next) => {
        const policy = response.getHeader('content-security-policy')
        if (typeof policy === 'string') {
          response.setHeader(
            'content-security-policy',
            policy
              .replace("script-src 'self'", `script-src 'self' 'nonce-${nonce}'`)
              .replace("style-src 'self'", `style-src 'self' 'nonce-${nonce}'`)
              .replace("connect-src 'self'", "connect-src 'self' ws: http://localhost:*"),
          )
        }
        next()
      })
    },
  }
}

const MOST_FIRST_LOAD_BYTES = 200_000

/**
 * Ends a build whose first load became too heavy: the entry and everything it imports before it runs,
 * compressed as a server would.
 */
function guardFirstLoad(): Plugin {
  return {
    name: 'tenantkeep:first-load',
    apply: (_config, { command, mode }) => command === 'build' && mode === 'production',
    generateBundle(_options, bundle) {
      const entries = Object.values(bundle).filter((file) => file.type === 'chunk' && file.isEntry)
      const waiting = entries.map(({ fileName }) => fileName)
      const loaded = new Set<string>()
      let bytes = 0
      for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
        const file = bundle[name]
        if (file?.type !== 'chunk' || loaded.has(name)) continue
        loaded.add(name)
        bytes += gzipSync(file.code).length
        waiting.push(...file.imports)
      }
      const words = `First load: ${(bytes / 1000).toFixed(1)} kB of compressed JavaScript in ${loaded.size} files`
      if (bytes > MOST_FIRST_LOAD_BYTES) {
        this.error(`${words}; at most ${MOST_FIRST_LOAD_BYTES / 1000} kB are allowed.`)
      }
      this.info(`${words}.`)
    },
  }
}
