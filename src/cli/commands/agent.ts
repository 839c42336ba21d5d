/** `cairn agent`: one process of a node that has the store open, and speaks for all others. */
import type { Agent } from '../../agent/agent.ts'
import { findOrStart, startDetached, type AgentFacts } from '../agent-process.ts'
import type { Time } from '../../index.ts'
import type { Call, CommandDescription } from '../command.ts'
import { EndWords, endSignals, exitCodeOf } from '../end-signals.ts'
import { loadLibrary } from '../library.ts'
import { givenWords, numberOf, secondsOf } from '../option-values.ts'
import { placesHere, placeOptions } from '../places.ts'
import { formatFacts } from '../text.ts'

export const agentCommand: CommandDescription = {
  name: 'agent',
  summary: 'own the store of this node, and answer programs of any language',
  description:
    'Opens the store of this node and job, and answers on a Unix socket until SIGTERM: docs/AGENT.md says what. ' +
    'Where such an agent runs already, says where it is, and ends. At its end everything is on disk, and in a ' +
    'checkpoint where there is a place for one.',
  operands: [],
  options: [
    ...placeOptions,
    { flags: '--worker <NAME>', text: 'as which worker those write who name none; the host name by default' },
    { flags: '--http <PORT>', text: 'answer HTTP on 127.0.0.1 as well, with a token; 0 is any free port' },
    { flags: '--linger <SECONDS>', text: 'end when nobody has been there for so long' },
    {
      flags: '--follow <PATTERNS>',
      text: 'of the other nodes, keep up only these shards, such as progress/**; several with commas; everything by default',
    },
    {
      flags: '--partners <N>',
      text: 'how many other nodes also keep what this one writes; the same on all nodes',
    },
    { flags: '--detach', text: 'start it in the background, and end when it is ready' },
  ],
  example: 'cairn agent --dir node/store --socket node/agent.sock --linger 1',
  run: runAgent,
}

const partnersMax = 16

async function runAgent(call: Call): Promise<void> {
  const { places } = await placesHere(call)
  const choices = {
    worker: call.valueOf('--worker'),
    httpPort: numberOf(call, '--http', 65_535),
    lingerMs: secondsOf(call, '--linger'),
    follow: call.valueOf('--follow')?.split(','),
    partners: numberOf(call, '--partners', partnersMax),
  }
  if (call.isSet('--detach')) {
    tell(
      call,
      await startDetached(
        places,
        givenWords(call, [
          '--dir',
          '--socket',
          '--shared',
          '--worker',
          '--http',
          '--linger',
          '--follow',
          '--partners',
        ]),
      ),
    )
    return
  }
  const { systemTime: time } = await loadLibrary()
  const { facts, agent } = await findOrStart(places, choices)
  // Whoever reads where it is may end it at once.
  const served = agent && serve(agent, time)
  tell(call, facts)
  await call.output.finish()
  if (served === undefined) return
  await served
  // What a disk that does not answer still holds up is not waited for.
  process.exit()
}

/** Until it has ended by itself, or was told to; told by a later word, too, it leaves at once. */
async function serve(agent: Agent, time: Time): Promise<void> {
  const words = new EndWords()
  for (const signal of endSignals) {
    process.on(signal, () => {
      if (words.isLater(time.monotonic())) process.exit(exitCodeOf(signal))
      void agent.close({ graceMs })
    })
  }
  await agent.ended
}

/** Schedulers tell all processes at once: who attends writes its last words first. */
const graceMs = 4_000

function tell({ output }: Call, facts: AgentFacts): void {
  if (output.isJson) return output.json(facts)
  const { socket, pid, started, http, tokenFile, problems = [] } = facts
  for (const problem of problems) output.note(problem)
  const more: [string, string][] =
    http === undefined
      ? []
      : [
          ['http', http],
          ['token', tokenFile ?? ''],
        ]
  const lines = formatFacts([[started ? 'agent' : 'running', String(pid)], ['socket', socket], ...more])
  for (const line of lines) output.line(line)
}
