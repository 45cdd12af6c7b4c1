import type { TestProject } from 'vitest/node'
import { startTestCluster, type TestCluster } from './test-cluster.ts'

declare module 'vitest' {
  interface ProvidedContext {
    cluster: TestCluster
  }
}

interface Shared {
  started: ReturnType<typeof startTestCluster>
  users: number
}
// Every project loads this module anew; the cluster is one for all of them.
declare global {
  var tenantkeepTestCluster: Shared | undefined
}

/** Boots one Postgres for all projects of a run that ask for it; the last one stops it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const shared = globalThis.tenantkeepTestCluster ?? { started: startTestCluster(), users: 0 }
  globalThis.tenantkeepTestCluster = shared
  shared.users += 1
  const { cluster, stop } = await shared.started
  project.provide('cluster', cluster)
  return async () => {
    shared.users -= 1
    if (shared.users > 0) return
    globalThis.tenantkeepTestCluster = undefined
    await stop()
  }
}
