/** A process that, when told how many, writes single updates, one an event-loop turn, at a rate or as fast as it can. Each says when it was due. */
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { recordOf } from '../../harness/record.js'
import { channels } from './channels.js'
import { nowMs } from './clock.js'

const [, , kind = '', address = '', dir = ''] = process.argv
const channel = channels[kind]
if (channel === undefined) throw new Error(`there is no channel ${kind}`)
const { send } = await channel.write(address, dir === '' ? undefined : dir)
process.on('disconnect', () => process.exit())
process.send?.('ready')
for (;;) {
  const [{ from, count, perSecond }] = await once(process, 'message')
  const start = nowMs()
  for (let sent = 0; sent < count; await nextTurn()) {
    const due = perSecond === undefined ? nowMs() : start + (sent * 1000) / perSecond
    if (nowMs() < due) continue
    const { key, value } = recordOf(from + sent++)
    send({ key, value: { ...value, due } })
  }
}
