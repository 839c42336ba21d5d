/** `cairn doctor`: where everything is on this node, and why there. */
import type { Detected, JobEnvironment } from '../../index.ts'
import { findAgent, type AgentFacts } from '../agent-process.ts'
import type { Call, CommandDescription } from '../command.ts'
import { loadLibrary } from '../library.ts'
import { placeOptions, placesHere, type Place, type Places } from '../places.ts'
import { formatFacts, printable } from '../text.ts'

export const doctorCommand: CommandDescription = {
  name: 'doctor',
  summary: 'say where store, socket and checkpoints of this job are, and why there',
  description:
    'Says what the environment tells of the job, where `cairn agent` and `cairn run` keep the store, the socket, the ' +
    'rendezvous and the checkpoints, which variable or option that comes from, and whether an agent answers. Makes ' +
    'nothing and changes nothing.',
  operands: [],
  options: placeOptions,
  example: 'cairn doctor',
  run: runDoctor,
}

async function runDoctor(call: Call): Promise<void> {
  const { softwareVersion } = await loadLibrary()
  const { places, detected } = await placesHere(call)
  const agent = await findAgent(places.socket.value)
  const report = {
    software: softwareVersion,
    node: process.version,
    ...jobPlaces(detected, places),
    store: places.store,
    socket: places.socket,
    rendezvous: places.rendezvous ?? null,
    checkpoints: places.checkpoints ?? null,
    secret: places.secretFile ?? null,
    agent: agent === undefined ? null : { pid: agent.pid },
  }
  if (call.output.isJson) call.output.json(report)
  else for (const line of linesOf(report, agent)) call.output.line(line)
}

/** What the environment tells; null where it tells nothing. */
function jobPlaces(detected: JobEnvironment, { job }: Places): Record<string, Place | null> {
  const { rank, size, localRank, restart, nodes, deadline, scratch } = detected
  return {
    job,
    rank: place(rank),
    size: place(size),
    localRank: place(localRank),
    restart: place(restart),
    nodes: place(nodes, (names) => names.join(' ')),
    deadline: place(deadline, (ms) => new Date(ms).toISOString()),
    scratch: place(scratch),
  }
}

function place<T>(found: Detected<T> | undefined, text: (value: T) => string = String): Place | null {
  return found === undefined ? null : { value: text(found.value), why: found.from }
}

function linesOf(report: Readonly<Record<string, unknown>>, agent: AgentFacts | undefined): string[] {
  const facts = Object.entries(report).map(([name, fact]): [string, string] => {
    if (name === 'agent') return [name, agent === undefined ? 'none answers' : `process ${agent.pid} answers`]
    if (fact === null) return [name, missing[name] ?? 'unknown: nothing in the environment says it']
    if (typeof fact === 'string') return [name, fact]
    const { value, why } = fact as Place
    return [name, printable(`${value} (${why})`)]
  })
  return formatFacts(facts)
}

const shared = 'none: give --shared or CAIRN_SHARED, a directory on the shared file system'
const missing: Readonly<Record<string, string>> = { rendezvous: shared, checkpoints: shared, secret: shared }
