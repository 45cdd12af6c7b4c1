import { Command, CommanderError } from 'commander'
import { BackupError } from '../core/errors.ts'
import { registerBackup } from './backup.ts'
import { registerCompare } from './compare.ts'
import { registerCreateTenant } from './create-tenant.ts'
import { registerDefaults } from './defaults.ts'
import { registerDoctor } from './doctor.ts'
import { registerDrill } from './drill.ts'
import { EXIT, EXIT_HELP, type ExitStatus } from './exit-status.ts'
import { registerExport } from './export.ts'
import { registerForgetTenant } from './forget-tenant.ts'
import { registerHook } from './hook.ts'
import { registerInit } from './init.ts'
import { registerList } from './list.ts'
import { registerMonitor } from './monitor.ts'
import { registerOffboardTenant } from './offboard-tenant.ts'
import { registerPause } from './pause.ts'
import { registerPolicy } from './policy.ts'
import { registerPrune } from './prune.ts'
import { registerRebuildCatalog } from './rebuild-catalog.ts'
import { registerRestore } from './restore.ts'
import { registerResume } from './resume.ts'
import { createRunner, reportError, type Surroundings } from './run-command.ts'
import { registerShow } from './show.ts'
import { registerUndo } from './undo.ts'
import { registerUnhook } from './unhook.ts'
import { registerUninstall } from './uninstall.ts'
import { registerVerify } from './verify.ts'
import { registerWorker } from './worker.ts'

const REGISTRATIONS = [
  registerInit,
  registerBackup,
  registerList,
  registerShow,
  registerVerify,
  registerDrill,
  registerExport,
  registerCompare,
  registerRestore,
  registerUndo,
  registerPrune,
  registerPolicy,
  registerForgetTenant,
  registerRebuildCatalog,
  registerDefaults,
  registerCreateTenant,
  registerOffboardTenant,
  registerDoctor,
  registerMonitor,
  registerWorker,
  registerPause,
  registerResume,
  registerUnhook,
  registerHook,
  registerUninstall,
]

/** Runs one command line (without the program's own name) and gives its exit status. */
export async function runCommandLine(
  args: readonly string[],
  surroundings: Surroundings,
): Promise<ExitStatus> {
  let status: ExitStatus = EXIT.done
  const isJson = args.includes('--json')
  const program = new Command('tenantkeep')
    .description(
      'Back up and restore one tenant of an application whose tenants share one Supabase database.',
    )
    .addHelpText('after', EXIT_HELP)
    .configureHelp({ showGlobalOptions: true })
  // Before the commands are added: they inherit both.
  program.exitOverride().configureOutput({
    writeOut: (text) => surroundings.stdout.write(text),
    writeErr: (text) => (isJson ? undefined : surroundings.stderr.write(text)),
  })
  const run = createRunner(surroundings, (reached) => {
    status = reached
  })
  for (const register of REGISTRATIONS) register(program, run)

  try {
    await program.parseAsync([...args], { from: 'user' })
    return status
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportError(surroundings, isJson, error)
    if (error.code === 'commander.helpDisplayed' || error.code === 'commander.version') {
      return EXIT.done
    }
    if (isJson) {
      const message = error.message.replace(/^error: /, '')
      reportError(surroundings, true, new BackupError('invalid_request', message))
    }
    return EXIT.couldNotRun
  }
}
