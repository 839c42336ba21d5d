/** Somebody who must not get in: another version of the protocol, another job, or without the secret. */
import { Handshake, nonceBytes } from '../../../src/replication/handshake.ts'
import { ProcessTime } from './schedule.ts'
import { job, secret } from './process.ts'
import type { Simulation } from './simulation.ts'

export function dialAsStranger(simulation: Simulation): void {
  const { choices, schedule, network, oracle } = simulation
  const victim = simulation.someComputer()?.process
  const [address] = victim?.store.stats().addresses ?? []
  if (victim === undefined || address === undefined) return
  simulation.fired('stranger')
  const kind = choices.pick(['version', 'job', 'secret'])
  const host = { name: 'stranger', time: new ProcessTime(schedule) }
  const handshake = new Handshake({
    role: 'dialer',
    environment: 'ffffffffffffffff',
    job: kind === 'job' ? 'another' : job,
    secret: kind === 'secret' ? new Uint8Array(32) : secret,
    nonce: choices.random.bytes(nonceBytes),
  })
  const before = victim.environment.sequence
  let heard = 0
  const dialled = network.transportOf(host).dial(address, (link) => {
    const hello = handshake.hello.slice()
    // The version follows the five bytes that say what this is.
    if (kind === 'version') hello[5] = choices.pick([0, 2, 9])
    schedule.after(1, () => link.send(hello))
    return {
      onFrame: (frame) => {
        if (++heard > 2) return oracle.fail('I18', `${victim.name} went on talking to a stranger`)
        const next = handshake.receive(frame)
        if (next.type === 'prove') link.send(next.proof)
        if (next.type === 'open' && kind !== 'version') oracle.fail('I18', `a stranger (${kind}) got in`)
      },
      onDrain: () => {},
      onClose: () => {},
    }
  })
  dialled.catch(() => {})
  schedule.after(8_000, () => {
    const { peers } = victim.isAlive ? victim.store.stats() : { peers: [] }
    if (peers.some(({ environment, connected }) => connected && environment === 'ffffffffffffffff'))
      oracle.fail('I18', `${victim.name} has a stranger as peer (${kind}), at commit ${before}`)
    network.gone(host, true)
  })
}
