/** One run of the command line: words in, results and messages out, exit code back. */
import type { Call, Parsed, Parser } from './command.ts'
import { commands } from './commands.ts'
import { CommandError, exitCode, exitCodeByFailure, exitCodeMeanings, failureOf } from './failures.ts'
import { loadLibrary } from './library.ts'
import { Output } from './output.ts'
import { progressForm, ProgressReport, wantsColour } from './progress.ts'

/** Runs what `words` ask for. Never throws; sets no exit code. */
export async function runCommandLine(words: readonly string[], parse: Parser): Promise<number> {
  const output = new Output({ results: process.stdout, messages: process.stderr }, wantsJson(words))
  process.on('uncaughtException', (error) => {
    output.fail(failureOf(error))
    process.exit(exitCode.bug)
  })
  let code: number | void = undefined
  const failed = await attempt(async () => {
    code = await obey(parse(words, commands, exitCodesHelp()), output, words)
  })
  // What was found is told also when something failed, and before it.
  const unwritten = await attempt(() => output.finish())
  const first = failed ?? unwritten
  if (first === undefined) return code ?? exitCode.ok
  const failure = failureOf(first.thrown)
  output.fail(failure)
  return exitCodeByFailure[failure.code]
}

/** Before anything is parsed, because complaints about what cannot be parsed are JSON, too. */
function wantsJson(words: readonly string[]): boolean {
  const end = words.indexOf('--')
  return (end === -1 ? words : words.slice(0, end)).includes('--json')
}

async function attempt(task: () => Promise<void>): Promise<{ readonly thrown: unknown } | undefined> {
  try {
    await task()
    return undefined
  } catch (thrown) {
    return { thrown }
  }
}

async function obey(parsed: Parsed, output: Output, words: readonly string[]): Promise<number | void> {
  switch (parsed.kind) {
    case 'call':
      return parsed.command.run(createCall(parsed, output))
    case 'help':
      return output.text(parsed.text)
    case 'version':
      return output.line((await loadLibrary()).softwareVersion)
    case 'misuse':
      throw misuse(parsed.complaint, words)
  }
}

function createCall({ operands, switches, values }: Parsed & { kind: 'call' }, output: Output): Call {
  const isSet = (option: string): boolean => switches.has(option)
  return {
    operands,
    output,
    isSet,
    valueOf: (option) => values.get(option),
    startProgress: (work) =>
      new ProgressReport({
        ...work,
        stream: process.stderr,
        form: progressForm(process.stderr, process.env, output.isJson || isSet('--quiet')),
        coloured: wantsColour(process.env),
      }),
  }
}

/** `error: unknown option '--strct'`, and in the next line `(Did you mean --strict?)`: a sentence and a hint. */
function misuse(complaint: string, words: readonly string[]): CommandError {
  const [first = '', suggestion] = complaint.replace(/^error: /, '').split('\n')
  const sentence = first.charAt(0).toUpperCase() + first.slice(1).replace(/\.$/, '')
  const meant = commands.find(({ name }) => words.includes(name))
  const hint = meant ? `cairn ${meant.name} --help says how it is used.` : 'cairn --help lists the commands.'
  return new CommandError('USAGE', `${sentence}.`, suggestion ? `${suggestion.slice(1, -1)} ${hint}` : hint)
}

function exitCodesHelp(): string {
  const lines = Object.entries(exitCodeMeanings).map(([code, meaning]) => `  ${code.padStart(2)}  ${meaning}`)
  return ['Exit codes:', ...lines].join('\n')
}
