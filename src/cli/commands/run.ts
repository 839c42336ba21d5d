/** `cairn run`: a program of a job, with an agent beside it. */
import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:os'
import type { JobEnvironment } from '../../index.ts'
import { Attendance } from '../attendance.ts'
import type { Call, CommandDescription } from '../command.ts'
import { CommandError, failureOf } from '../failures.ts'
import { loadLibrary } from '../library.ts'
import { EndWords, endSignals, exitCodeOf } from '../end-signals.ts'
import { givenWords, secondsOf } from '../option-values.ts'
import { placeOptions, placesHere, type Places } from '../places.ts'

export const runCommand: CommandDescription = {
  name: 'run',
  summary: 'run a program of a job, with an agent beside it',
  description:
    'Finds or starts the agent of this node and job, tells the program where it is, passes signals on, has a ' +
    "checkpoint written before the job's time is over, and ends as the program does. The last of a node ends the " +
    'agent. Where there can be no agent, the program runs all the same.',
  operands: [{ name: 'COMMAND...', text: 'the program and its arguments, after --' }],
  options: [
    ...placeOptions,
    { flags: '--worker <NAME>', text: 'as which worker the program writes; rank-N by default' },
    {
      flags: '--margin <SECONDS>',
      text: 'how long before the end of the job a checkpoint is written; 120 by default',
    },
  ],
  example: 'cairn run -- ./simulation',
  run: runProgram,
}

/** An agent that nobody attends any more, because all were killed, ends after this. */
const lingerSeconds = '60'
const marginMsDefault = 120_000
/** Timers take no longer waits. */
const timerMsMax = 2 ** 31 - 1

async function runProgram(call: Call): Promise<number> {
  const marginMs = secondsOf(call, '--margin') ?? marginMsDefault
  const here = await placesHere(call).catch((error: unknown) => {
    const { message, hint } = failureOf(error)
    call.output.note(`there is no agent: ${message} ${hint}`)
  })
  if (here === undefined) return runAlone(call)
  const { places, detected } = here
  const { systemTime: time } = await loadLibrary()
  const words = ['--linger', lingerSeconds, ...givenWords(call, ['--dir', '--socket', '--shared'])]
  const attendance = new Attendance(places, words, (sentence) => call.output.note(sentence))
  const isThere = await attendance.begin()
  // Of the programs of a node one is enough.
  const secures = isThere && (detected.localRank?.value ?? 0) === 0
  const program = new Program(call.operands, {
    ...process.env,
    ...variablesFor(detected, places, call.valueOf('--worker')),
    ...(isThere ? { CAIRN_SOCKET: places.socket.value } : {}),
  })
  const signals = new Signals(program, {
    now: () => time.monotonic(),
    warned: () => void (secures && attendance.secure()),
  })
  const leftMs = detected.deadline === undefined ? Infinity : detected.deadline.value - time.now() - marginMs
  const timer =
    secures && leftMs < timerMsMax
      ? time.after(Math.max(leftMs, 0), () => void attendance.secure())
      : undefined
  try {
    return await program.ended
  } finally {
    timer?.cancel()
    await attendance.end()
    signals.remove()
  }
}

/** What the environment says of the job cannot be read, or the library not be loaded. */
async function runAlone(call: Call): Promise<number> {
  const program = new Program(call.operands, process.env)
  const signals = new Signals(program, { now: () => process.uptime() * 1000, warned: () => {} })
  try {
    return await program.ended
  } finally {
    signals.remove()
  }
}

/** What the program and its libraries find in their environment. */
function variablesFor(
  { rank, size, localRank, restart, deadline, scratch }: JobEnvironment,
  { job, shared }: Places,
  worker: string | undefined,
): Record<string, string> {
  const given = {
    CAIRN_JOB: job.value,
    CAIRN_WORKER: worker ?? (rank === undefined ? undefined : `rank-${rank.value}`),
    CAIRN_RANK: rank?.value,
    CAIRN_SIZE: size?.value,
    CAIRN_LOCAL_RANK: localRank?.value,
    CAIRN_RESTART: restart?.value,
    CAIRN_DEADLINE: deadline && Math.floor(deadline.value / 1000),
    CAIRN_SCRATCH: scratch?.value,
    CAIRN_SHARED: shared?.value,
  }
  const known = Object.entries(given).filter(([, value]) => value !== undefined)
  return Object.fromEntries(known.map(([name, value]) => [name, String(value)]))
}

class Program {
  /** Its exit code; as shells do, 128 and the number of the signal that ended it. */
  readonly ended: Promise<number>
  readonly #child: ChildProcess

  constructor([command = '', ...words]: readonly string[], environment: NodeJS.ProcessEnv) {
    this.#child = spawn(command, words, { stdio: 'inherit', env: environment })
    this.ended = new Promise((resolve, reject) => {
      this.#child.once('error', (error: NodeJS.ErrnoException) => reject(notStarted(command, error)))
      this.#child.once('exit', (code, signal) =>
        resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)),
      )
    })
  }

  tell(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }
}

function notStarted(command: string, { code, message }: NodeJS.ErrnoException): CommandError {
  return code === 'ENOENT'
    ? new CommandError('NOT_FOUND', `There is no program "${command}".`, 'Check its name, and PATH.')
    : new CommandError('USAGE', `"${command}" cannot be run: ${message}.`, 'May it be executed?')
}

interface SignalListeners {
  /** Milliseconds that never go back. */
  readonly now: () => number
  /** The job has been warned that it will end. */
  readonly warned: () => void
}

/** Passes signals on to the program. Told to end by a later word, too, it is ended at once. */
class Signals {
  readonly #listeners: (readonly [NodeJS.Signals, () => void])[] = []
  readonly #words = new EndWords()

  constructor(program: Program, { now, warned }: SignalListeners) {
    for (const signal of ['SIGUSR1', 'SIGUSR2'] as const)
      this.#on(signal, () => {
        warned()
        program.tell(signal)
      })
    for (const signal of endSignals)
      this.#on(signal, () => {
        if (this.#words.isLater(now())) {
          program.tell('SIGKILL')
          process.exit(exitCodeOf(signal))
        }
        // Of the keyboard the terminal has told the program, too.
        if (signal !== 'SIGINT' || !process.stdin.isTTY) program.tell(signal)
      })
  }

  remove(): void {
    for (const [signal, listener] of this.#listeners) process.off(signal, listener)
  }

  #on(signal: NodeJS.Signals, listener: () => void): void {
    this.#listeners.push([signal, listener])
    process.on(signal, listener)
  }
}
