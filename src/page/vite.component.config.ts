import { join } from 'node:path'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

const repository = join(import.meta.dirname, '..', '..')

/** Builds the component that hosts mount; its libraries stay outside, for the host's own build to share. */
export default defineConfig({
  root: import.meta.dirname,
  envDir: false,
  cacheDir: join(repository, 'node_modules', '.vite'),
  build: {
    outDir: join(repository, 'component'),
    emptyOutDir: true,
    minify: false,
    lib: {
      entry: join(import.meta.dirname, 'component.ts'),
      formats: ['es'],
      fileName: 'component',
      cssFileName: 'page',
    },
    rolldownOptions: { external: (id) => !/^[./]/.test(id) },
  },
  plugins: [react()],
})
