/**
 * `cairn`: where the process starts, and where the words of the command line become data.
 *
 * Everything is imported dynamically, so that the first statement runs before any other file is even opened: on a
 * busy shared file system that may take seconds.
 */
import type { Command } from 'commander'
import type { CommandDescription, Parsed } from './command.ts'

// Without a listener Node opens its debugger when SIGUSR1 arrives, which schedulers send as a warning.
process.on('SIGUSR1', () => {})
// It would end what is starting.
process.on('SIGUSR2', () => {})

const commander = await import('commander')
const { runCommandLine } = await import('./command-line.ts')

process.exitCode = await runCommandLine(process.argv.slice(2), parse)

/** Reads the words of a command line. Prints nothing and runs nothing. */
function parse(words: readonly string[], commands: readonly CommandDescription[], epilogue: string): Parsed {
  let help = ''
  let parsed: Parsed | undefined
  const program = createProgram((text) => (help += text)).addHelpText('after', `\n${epilogue}`)
  for (const description of commands) {
    const command = addCommand(program, description)
    command.action(() => {
      const switches = new Set<string>()
      const values = new Map<string, string>()
      for (const option of command.options) {
        const given: unknown = command.getOptionValue(option.attributeName())
        if (given === true) switches.add(option.long ?? option.flags)
        else if (typeof given === 'string') values.set(option.long ?? option.flags, given)
      }
      parsed = { kind: 'call', command: description, operands: command.args, switches, values }
    })
  }
  try {
    program.parse(words, { from: 'user' })
  } catch (error) {
    if (!(error instanceof commander.CommanderError)) throw error
    if (error.code === versionAsked) return { kind: 'version' }
    if (error.exitCode === 0) return { kind: 'help', text: help }
    // Commander answers with help where a command is missing.
    const complaint = error.code === 'commander.help' ? missingCommand(words) : error.message
    return { kind: 'misuse', complaint }
  }
  return parsed ?? { kind: 'misuse', complaint: missingCommand(words) }
}

const versionAsked = 'cairn.version'

function createProgram(writeOut: (text: string) => void): Command {
  return new commander.Command('cairn')
    .exitOverride()
    .configureOutput({ writeOut, writeErr: () => {}, outputError: () => {} })
    .usage('COMMAND [options] ...')
    .description('Reads, checks and merges the snapshots of cairn-store.')
    .option('-V, --version', 'print the version')
    .on('option:version', () => {
      throw new commander.CommanderError(0, versionAsked, '')
    })
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [COMMAND]', 'print how a command is used')
}

function addCommand(program: Command, description: CommandDescription): Command {
  const { name, summary, operands, options, example } = description
  const command = program.command(name).summary(summary).description(description.description)
  command.helpOption('-h, --help', 'print this help').addHelpText('after', `\nExample:\n  ${example}`)
  for (const operand of operands) {
    command.argument(operand.name.startsWith('[') ? operand.name : `<${operand.name}>`, operand.text)
  }
  for (const option of options) command.option(option.flags, option.text)
  return command
}

function missingCommand(words: readonly string[]): string {
  return words.length === 0 ? 'no command was given' : `there is no command "${words.join(' ')}"`
}
