/** What every transport must do. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { closes, type Close } from '../../src/replication/closing.ts'
import { frameBytesMax } from '../../src/replication/frames.ts'
import type {
  Accept,
  Link,
  LinkEvents,
  ListenAt,
  Listener,
  Transport,
} from '../../src/replication/transport.ts'

const cannotReach = /nobody|ECONNREFUSED|ENOENT/

/** Records what a link tells. */
class End implements LinkEvents {
  readonly link: Link
  readonly frames: Buffer[] = []
  readonly closes: Close[] = []
  drains = 0
  isThrowing = false

  constructor(link: Link) {
    this.link = link
  }

  onFrame(frame: Uint8Array): void {
    if (this.isThrowing) throw new Error('thrown on purpose')
    this.frames.push(Buffer.from(frame))
  }

  onDrain(): void {
    this.drains++
  }

  onClose(close: Close): void {
    this.closes.push(close)
  }
}

export function transportContract(
  name: string,
  setUp: () => Promise<{ transport: Transport; at: ListenAt; nobody: string; tearDown: () => Promise<void> }>,
): void {
  describe(`transport contract: ${name}`, () => {
    let transport: Transport
    let at: ListenAt
    let nobody: string
    let tearDown: () => Promise<void>
    let listener: Listener
    let accepted: End[]

    beforeEach(async () => {
      ;({ transport, at, nobody, tearDown } = await setUp())
      accepted = []
      listener = await transport.listen(at, (link) => {
        const end = new End(link)
        accepted.push(end)
        return end
      })
    })

    afterEach(async () => {
      await listener.close()
      await tearDown()
    })

    async function dial(): Promise<{ near: End; far: End }> {
      let near: End | undefined
      const count = accepted.length
      await transport.dial(listener.addresses[0] as string, (link) => (near = new End(link)))
      await vi.waitUntil(() => accepted.length > count)
      return { near: near as End, far: accepted.at(-1) as End }
    }

    test('carries frames whole, in order, both ways', async () => {
      const { near, far } = await dial()
      const sent = Array.from({ length: 200 }, (_, i) => Buffer.alloc(1 + ((i * 37) % 5_000), i))
      for (const frame of sent) near.link.send(frame)
      for (const frame of sent.toReversed()) far.link.send(frame)
      await vi.waitUntil(() => far.frames.length === 200 && near.frames.length === 200)
      expect(Buffer.concat(far.frames).equals(Buffer.concat(sent))).toBe(true)
      expect(Buffer.concat(near.frames).equals(Buffer.concat(sent.toReversed()))).toBe(true)
    })

    test('carries the longest frame', async () => {
      const { near, far } = await dial()
      near.link.send(Buffer.alloc(frameBytesMax, 7))
      await vi.waitUntil(() => far.frames.length === 1)
      expect(far.frames[0]?.length).toBe(frameBytesMax)
    })

    test('tells when what waited has left', async () => {
      const { near, far } = await dial()
      for (let i = 0; i < 20; i++) near.link.send(Buffer.alloc(100_000))
      await vi.waitUntil(() => far.frames.length === 20)
      await vi.waitUntil(() => near.drains > 0)
      expect(near.link.bufferedBytes).toBe(0)
    })

    test('keeps links apart', async () => {
      const one = await dial()
      const two = await dial()
      one.near.link.send(Buffer.from('one'))
      two.near.link.send(Buffer.from('two'))
      await vi.waitUntil(() => one.far.frames.length === 1 && two.far.frames.length === 1)
      expect(String(one.far.frames[0])).toBe('one')
      expect(String(two.far.frames[0])).toBe('two')
    })

    test('rejects where nobody is', async () => {
      const accept = vi.fn<Accept>()
      await expect(transport.dial(nobody, accept)).rejects.toThrow(cannotReach)
      expect(accept).not.toHaveBeenCalled()
    })

    test('sends what waits before it closes, and tells both ends once', async () => {
      const { near, far } = await dial()
      for (let i = 0; i < 10; i++) near.link.send(Buffer.alloc(10_000, i))
      near.link.close(closes.secretWrong)
      near.link.close(closes.bye)
      await vi.waitUntil(() => near.closes.length > 0 && far.closes.length > 0)
      expect(far.frames).toHaveLength(10)
      expect(far.closes).toEqual([closes.secretWrong])
      expect(near.closes).toHaveLength(1)
    })

    test('receives nothing once closed, and sends nothing', async () => {
      const { near, far } = await dial()
      far.link.send(Buffer.from('too late'))
      near.link.close(closes.bye)
      near.link.send(Buffer.from('too late'))
      await vi.waitUntil(() => near.closes.length > 0 && far.closes.length > 0)
      far.link.send(Buffer.from('much too late'))
      expect(near.frames).toEqual([])
      expect(far.frames).toEqual([])
    })

    test('survives events that throw', async () => {
      const { near, far } = await dial()
      far.isThrowing = true
      near.link.send(Buffer.from('bang'))
      await vi.waitUntil(() => near.closes.length > 0)
      const again = await dial()
      again.near.link.send(Buffer.from('still here'))
      await vi.waitUntil(() => again.far.frames.length === 1)
      expect(far.frames).toEqual([])
    })

    test('cuts its links when it stops listening', async () => {
      const { near } = await dial()
      const [address] = listener.addresses
      await listener.close()
      await vi.waitUntil(() => near.closes.length > 0)
      await expect(transport.dial(address as string, vi.fn<Accept>())).rejects.toThrow(cannotReach)
    })

    test('refuses to listen where somebody does', async () => {
      const taken = await transport
        .listen('path' in at ? at : portOf(listener), vi.fn<Accept>())
        .catch((error: unknown) => error)
      expect(taken).toMatchObject({ code: 'OPTION_INVALID' })
    })
  })
}

function portOf({ addresses: [address = ''] }: Listener): ListenAt {
  const [host = '', port] = address.replace('ws://', '').split(':')
  return { host, port: Number(port) }
}
