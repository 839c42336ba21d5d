/** A conversation with an agent that has no socket, on a store whose time and randomness repeat. */
import { Clients } from '../../src/agent/clients.ts'
import { Rewinds } from '../../src/agent/rewinds.ts'
import { Conversation, type Household } from '../../src/agent/conversation.ts'
import { seededRandom } from '../../src/base/random.ts'
import { silentLog } from '../../src/base/log.ts'
import { openMemoryStore, systemTime, type Store, type Time } from '../../src/index.ts'

/** It stands still. */
const time: Time = { ...systemTime, now: () => 1_764_021_600_000, monotonic: () => 0 }

export function household(store: Store = fixedStore()): Household {
  const clients = new Clients(store, time)
  let attendants = 0
  const attend = () => {
    attendants++
    return () => --attendants
  }
  const storeOf = (worker: string) => store.as(worker)
  const rewinds = new Rewinds(clients, storeOf)
  return { store, clients, rewinds, job: '42', log: silentLog, storeOf, attend }
}

export function fixedStore(): Store {
  return openMemoryStore({ worker: 'node-1', time, random: seededRandom(7) })
}

export interface Talk {
  /** What was answered to this line, when all is quiet again. */
  say(line: string): Promise<string[]>
  readonly isEnded: boolean
  hangUp(): void
}

export function talk(to: Household): Talk {
  let heard: string[] = []
  let isEnded = false
  const conversation = new Conversation(to, {
    send: (line) => void heard.push(line),
    room: () => Promise.resolve(),
    end: () => {
      isEnded = true
    },
  })
  return {
    say: async (line) => {
      heard = []
      conversation.receive(line)
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
      return heard
    },
    get isEnded() {
      return isEnded
    },
    hangUp: () => conversation.close(),
  }
}
