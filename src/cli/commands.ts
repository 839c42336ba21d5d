/** All commands, in the order that help lists them. */
import { commonOptions, type CommandDescription } from './command.ts'
import { agentCommand } from './commands/agent.ts'
import { diffCommand } from './commands/diff.ts'
import { doctorCommand } from './commands/doctor.ts'
import { entriesCommand } from './commands/entries.ts'
import { exportCommand } from './commands/export.ts'
import { getCommand } from './commands/get.ts'
import { importCommand } from './commands/import.ts'
import { infoCommand } from './commands/info.ts'
import { keysCommand } from './commands/keys.ts'
import { mergeCommand } from './commands/merge.ts'
import { restoreCommand } from './commands/restore.ts'
import { statusCommand } from './commands/status.ts'
import { runCommand } from './commands/run.ts'
import { verifyCommand } from './commands/verify.ts'

/** With the options that all of them take. */
export const commands: readonly CommandDescription[] = [
  mergeCommand,
  verifyCommand,
  keysCommand,
  getCommand,
  entriesCommand,
  exportCommand,
  importCommand,
  infoCommand,
  diffCommand,
  statusCommand,
  restoreCommand,
  agentCommand,
  runCommand,
  doctorCommand,
].map((command) => ({ ...command, options: [...command.options, ...commonOptions] }))
