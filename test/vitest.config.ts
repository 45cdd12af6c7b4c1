import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defineConfig } from 'vitest/config'
import { findMemoryFolder } from './support/memory-folder.ts'

// Dates must not depend on where the tests run: a zone with an odd offset shows it. Before any worker starts.
process.env.TZ = 'Asia/Kathmandu'
// Processes that tests start load the same modules again and again: half of their time without this.
process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'tenantkeep-compile-cache')
// What tests throw away is kept in memory; what the next run finds again is not.
process.env.TENANTKEEP_LASTING_FOLDER ??= tmpdir()
process.env.TMPDIR = findMemoryFolder() ?? tmpdir()

export default defineConfig({
  root: join(import.meta.dirname, '..'),
  test: {
    // Two cores are the least that tests are run on; Postgres wants one of them.
    maxWorkers: 2,
    pool: 'forks',
    restoreMocks: true,
    unstubEnvs: true,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.unit.test.ts'],
          testTimeout: 20_000,
          // Loading the same modules for each file anew took most of their time.
          isolate: false,
        },
      },
      {
        extends: true,
        test: {
          name: 'integration',
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.unit.test.ts', 'test/e2e/**'],
          globalSetup: 'test/support/global-setup.ts',
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // As above: each file has a database of its own, and needs no modules of its own.
          isolate: false,
        },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup: ['test/support/global-setup.ts', 'test/support/unpack-browser.ts'],
          testTimeout: 120_000,
          hookTimeout: 180_000,
          // Browser, stack and emulator on two cores that others use too: what fails twice is a fault.
          retry: 1,
          expect: { poll: { timeout: 30_000 } },
        },
      },
    ],
  },
})
