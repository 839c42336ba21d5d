import { describe, expect, test } from 'vitest'
import {
  Assembler,
  chunkBytesMax,
  frameBytesMax,
  messageBytesMax,
  splitMessage,
} from '../../src/replication/frames.ts'
import { Sealer, Unsealer, sealBytes } from '../../src/replication/seal.ts'

const refused = expect.objectContaining({ code: 'FRAME_REFUSED' })

describe('frames', () => {
  test.each([1, chunkBytesMax - 1, chunkBytesMax, chunkBytesMax + 1, 3 * chunkBytesMax])(
    'a message of %i bytes comes out as it went in',
    (length) => {
      const message = Buffer.alloc(length, 'message')
      const frames = splitMessage(message)
      expect(frames.length).toBe(Math.ceil(length / chunkBytesMax))
      const assembler = new Assembler()
      for (const frame of frames.slice(0, -1)) expect(assembler.receive(frame)).toBeUndefined()
      expect(message.equals(assembler.receive(frames.at(-1) as Uint8Array) as Uint8Array)).toBe(true)
    },
  )

  test('a sealed frame keeps its limit', () => {
    const [frame] = splitMessage(Buffer.alloc(chunkBytesMax))
    expect((frame as Uint8Array).length + sealBytes).toBe(frameBytesMax)
  })

  test.each([
    ['no flags', []],
    ['unknown flags', [2, 1]],
    ['more follows, but it is not full', [1, 1]],
  ])('refuses a frame: %s', (_, bytes) => {
    expect(() => new Assembler().receive(Uint8Array.from(bytes))).toThrow(refused)
  })

  test('refuses a message that never ends', () => {
    const assembler = new Assembler()
    const frame = new Uint8Array(1 + chunkBytesMax)
    frame[0] = 1
    const fitting = Math.floor(messageBytesMax / chunkBytesMax)
    for (let i = 0; i < fitting; i++) assembler.receive(frame)
    expect(() => assembler.receive(frame)).toThrow(refused)
  })
})

describe('sealing', () => {
  const key = Buffer.alloc(32, 'key')
  const sealed = (count: number): Uint8Array[] => {
    const sealer = new Sealer(key)
    return Array.from({ length: count }, (_, i) => sealer.seal(Buffer.from(`frame ${i}`)))
  }

  test('opens what was sealed, in order', () => {
    const unsealer = new Unsealer(key)
    expect(sealed(3).map((frame) => String(unsealer.unseal(frame)))).toEqual([
      'frame 0',
      'frame 1',
      'frame 2',
    ])
  })

  test('hides what it seals, also when it repeats', () => {
    const sealer = new Sealer(key)
    const [one, two] = [sealer.seal(Buffer.from('same')), sealer.seal(Buffer.from('same'))]
    expect(Buffer.from(one).equals(two)).toBe(false)
    expect(Buffer.from(one).includes('same')).toBe(false)
  })

  test('refuses a frame that is repeated, left out, or out of order', () => {
    const [first, second, third] = sealed(3) as [Uint8Array, Uint8Array, Uint8Array]
    for (const order of [[first, first], [first, third], [second]]) {
      const unsealer = new Unsealer(key)
      const last = order.pop() as Uint8Array
      for (const frame of order) unsealer.unseal(frame)
      expect(() => unsealer.unseal(last)).toThrow(refused)
    }
  })

  test('refuses every flipped bit, every cut and every other key', () => {
    const [frame] = sealed(1) as [Uint8Array]
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const flipped = frame.slice()
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(() => new Unsealer(key).unseal(flipped)).toThrow(refused)
    }
    for (let length = 0; length < frame.length; length++) {
      expect(() => new Unsealer(key).unseal(frame.subarray(0, length))).toThrow(refused)
    }
    expect(() => new Unsealer(Buffer.alloc(32, 'other')).unseal(frame)).toThrow(refused)
  })
})
