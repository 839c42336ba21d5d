import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { encodeText, toHex } from '../../src/base/bytes.ts'
import {
  Handshake,
  type HandshakeOptions,
  type HandshakeStep,
  handshakeFrameBytesMax,
} from '../../src/replication/handshake.ts'
import { makeReaderToken, readReaderToken, readerKeyOf } from '../../src/replication/reader-token.ts'

const dialer: HandshakeOptions = {
  role: 'dialer',
  environment: 'aaaaaaaaaaaaaaaa',
  job: 'job',
  secret: Buffer.alloc(32, 1),
  nonce: Buffer.alloc(32, 2),
}
const listener: HandshakeOptions = {
  ...dialer,
  role: 'listener',
  environment: 'bbbbbbbbbbbbbbbb',
  nonce: Buffer.alloc(32, 3),
}

/** What both sides make of each other's frames; `change` sits in between. */
function meet(
  one: HandshakeOptions,
  two: HandshakeOptions,
  change: (frame: Uint8Array, name: string) => Uint8Array = (frame) => frame,
): [HandshakeStep, HandshakeStep] {
  const [a, b] = [new Handshake(one), new Handshake(two)]
  const [aStep, bStep] = [a.receive(change(b.hello, 'b hello')), b.receive(change(a.hello, 'a hello'))]
  const aEnd = bStep.type === 'prove' ? a.receive(change(bStep.proof, 'b proof')) : aStep
  const bEnd = aStep.type === 'prove' ? b.receive(change(aStep.proof, 'a proof')) : bStep
  return [aStep.type === 'close' ? aStep : aEnd, bStep.type === 'close' ? bStep : bEnd]
}

const reasonsOf = (steps: HandshakeStep[]) =>
  steps.map((step) => (step.type === 'close' ? step.close.reason : step.type))

function flipped(frame: Uint8Array, bit: number): Uint8Array {
  const copy = frame.slice()
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7))
  return copy
}

describe('handshake', () => {
  test('two that know the secret come to the same keys, another one for each direction', () => {
    const [a, b] = meet(dialer, listener)
    if (a.type !== 'open' || b.type !== 'open') throw new Error('not open')
    expect([a.peer, b.peer]).toEqual([listener.environment, dialer.environment])
    const there = a.sealer.seal(Buffer.from('there'))
    const back = b.sealer.seal(Buffer.from('there'))
    expect(Buffer.from(there).equals(back)).toBe(false)
    expect(() => a.unsealer.unseal(there)).toThrow('its seal is broken')
    expect(String(b.unsealer.unseal(there))).toBe('there')
    expect(String(a.unsealer.unseal(back))).toBe('there')
  })

  test('its bytes are those of docs/WIRE.md', () => {
    const [a, b] = [new Handshake(dialer), new Handshake(listener)]
    const [aStep, bStep] = [a.receive(b.hello), b.receive(a.hello)]
    if (aStep.type !== 'prove' || bStep.type !== 'prove') throw new Error('no proof')
    const open = a.receive(bStep.proof)
    if (open.type !== 'open') throw new Error('not open')
    const sealed = open.sealer.seal(Buffer.from('0007', 'hex'))
    const specification = readFileSync(new URL('../../docs/WIRE.md', import.meta.url), 'utf8')
    for (const bytes of [a.hello, b.hello, aStep.proof, bStep.proof, sealed]) {
      expect(specification).toContain(`\`${toHex(bytes)}\``)
    }
  })

  test('a wrong secret shows on both sides', () => {
    const steps = meet(dialer, { ...listener, secret: Buffer.alloc(32, 9) })
    expect(reasonsOf(steps)).toEqual(['SECRET_WRONG', 'SECRET_WRONG'])
  })

  test('another job, oneself, and a later version are told apart', () => {
    expect(reasonsOf(meet(dialer, { ...listener, job: 'other' }))).toEqual(['JOB_OTHER', 'JOB_OTHER'])
    expect(reasonsOf(meet(dialer, { ...listener, environment: dialer.environment }))).toEqual([
      'SELF',
      'SELF',
    ])
    const newer = meet(dialer, listener, (frame, name) =>
      name === 'b hello' ? withVersion(frame, 2) : frame,
    )
    expect(reasonsOf(newer)[0]).toBe('FORMAT_NEWER')
    const older = meet(dialer, listener, (frame, name) =>
      name === 'b hello' ? withVersion(frame, 0) : frame,
    )
    expect(reasonsOf(older)[0]).toBe('FRAME_REFUSED')
  })

  test('a hello may grow, and what was appended is covered by the proof', () => {
    const noReader = Uint8Array.of(0)
    const grown = (frame: Uint8Array) => Buffer.concat([frame, noReader, Buffer.from('more')])
    const both = meet(dialer, listener, (frame, name) => (name.endsWith('hello') ? grown(frame) : frame))
    // Each side proves its own hello as it was sent: what is appended on the way breaks both.
    expect(reasonsOf(both)).toEqual(['SECRET_WRONG', 'SECRET_WRONG'])
  })

  test('no flipped bit of a proof is taken for one', () => {
    for (let bit = 0; bit < 256; bit++) {
      const steps = meet(dialer, listener, (frame, name) =>
        name === 'a proof' ? flipped(frame, bit) : frame,
      )
      expect(reasonsOf(steps)).toEqual(['open', 'SECRET_WRONG'])
    }
  })

  test('no flipped bit of a hello opens anything', () => {
    const bits = new Handshake(dialer).hello.length * 8
    for (let bit = 0; bit < bits; bit++) {
      const steps = meet(dialer, listener, (frame, name) =>
        name === 'a hello' ? flipped(frame, bit) : frame,
      )
      expect(reasonsOf(steps)).not.toContain('open')
    }
  })

  test('two dialers, or two listeners, do not open', () => {
    expect(reasonsOf(meet(dialer, { ...listener, role: 'dialer' }))).toEqual(['SECRET_WRONG', 'SECRET_WRONG'])
    expect(reasonsOf(meet({ ...dialer, role: 'listener' }, listener))).toEqual([
      'SECRET_WRONG',
      'SECRET_WRONG',
    ])
  })

  test('a mirror that does not know the secret gets nowhere', () => {
    const victim = new Handshake(listener)
    expect(reasonsOf([victim.receive(victim.hello)])).toEqual(['SELF'])
    // It pretends to be another environment with the victim's nonce, and sends the victim's proof back.
    const again = new Handshake(listener)
    const mirrored = new Handshake({ ...dialer, nonce: listener.nonce })
    const step = again.receive(mirrored.hello)
    if (step.type !== 'prove') throw new Error('no proof')
    expect(reasonsOf([again.receive(step.proof)])).toEqual(['SECRET_WRONG'])
  })

  test('the frames of an old handshake are of no use', () => {
    const [a, b] = [new Handshake(dialer), new Handshake(listener)]
    const aStep = a.receive(b.hello)
    if (aStep.type !== 'prove') throw new Error('no proof')
    const victim = new Handshake({ ...listener, nonce: Buffer.alloc(32, 4) })
    expect(victim.receive(a.hello).type).toBe('prove')
    expect(reasonsOf([victim.receive(aStep.proof)])).toEqual(['SECRET_WRONG'])
  })

  test.each([
    ['nothing', new Uint8Array(0)],
    ['another greeting', Buffer.from('GET / HTTP/1.1')],
    ['the greeting alone', Buffer.from('cairn')],
    ['too much', Buffer.concat([new Handshake(dialer).hello, Buffer.alloc(handshakeFrameBytesMax)])],
    ['an environment that is no identity', helloWith('../../etc/passwd')],
    ['bytes that are no text', Buffer.from('636169726e0108ffffffffffffffff036a6f62', 'hex')],
  ])('refuses garbage: %s', (_, frame) => {
    expect(reasonsOf([new Handshake(listener).receive(frame)])).toEqual(['FRAME_REFUSED'])
  })

  test('refuses a proof of another length', () => {
    for (const length of [0, 31, 33]) {
      const steps = meet(dialer, listener, (frame, name) =>
        name === 'a proof' ? new Uint8Array(length) : frame,
      )
      expect(reasonsOf(steps)[1]).toBe('FRAME_REFUSED')
    }
  })
})

describe('a reader', () => {
  const key = readerKeyOf(dialer.secret, 'viewer')
  const reader: HandshakeOptions = { ...dialer, secret: key, reader: 'viewer' }

  test('opens a link with who knows the secret, and is known as what it is', () => {
    const [a, b] = meet(reader, listener)
    if (a.type !== 'open' || b.type !== 'open') throw new Error('not open')
    expect([a.reader, b.reader]).toEqual([undefined, 'viewer'])
    expect(String(b.unsealer.unseal(a.sealer.seal(Buffer.from('there'))))).toBe('there')
  })

  test('its bytes are those of docs/WIRE.md', () => {
    const [a, b] = [new Handshake(reader), new Handshake(listener)]
    const [aStep, bStep] = [a.receive(b.hello), b.receive(a.hello)]
    if (aStep.type !== 'prove' || bStep.type !== 'prove') throw new Error('no proof')
    const specification = readFileSync(new URL('../../docs/WIRE.md', import.meta.url), 'utf8')
    for (const bytes of [key, a.hello, aStep.proof, bStep.proof].map(toHex)) {
      expect(specification).toContain(`\`${bytes}\``)
    }
  })

  test.each([
    ['another name', { ...reader, reader: 'other' }],
    ['no name', { ...reader, reader: undefined }],
    ['the secret itself', { ...reader, secret: dialer.secret }],
    ['a key of another secret', { ...reader, secret: readerKeyOf(Buffer.alloc(32, 9), 'viewer') }],
  ])('does not get in with %s', (_, options) => {
    expect(reasonsOf(meet(options, listener))).toEqual(['SECRET_WRONG', 'SECRET_WRONG'])
  })

  test('cannot pass for a store that is dialled', () => {
    // What a listener would send that names itself a reader.
    const hello = new Handshake({ ...reader, environment: listener.environment }).hello
    expect(reasonsOf([new Handshake(dialer).receive(hello)])).toEqual(['FRAME_REFUSED'])
    expect(reasonsOf([new Handshake(reader).receive(hello)])).toEqual(['FRAME_REFUSED'])
  })

  test('has a name that is one', () => {
    for (const name of ['../x', '-', 'x'.repeat(129), '\0']) {
      const bytes = encodeText(name)
      const hello = Buffer.concat([new Handshake(dialer).hello, Uint8Array.of(...lengthOf(bytes)), bytes])
      expect(reasonsOf([new Handshake(listener).receive(hello)])).toEqual(['FRAME_REFUSED'])
    }
    expect(() => makeReaderToken(dialer.secret, '../x')).toThrow(
      expect.objectContaining({ code: 'NAME_INVALID' }),
    )
  })

  test('is read from its token, and nothing else is taken for one', () => {
    const token = makeReaderToken(dialer.secret, 'viewer')
    expect(readReaderToken(Buffer.from(`${token}\n`))).toEqual({ name: 'viewer', key })
    for (const other of [
      '',
      'reader.viewer.',
      token.slice(0, -1),
      `${token}x`,
      token.replace('reader', 'write'),
    ]) {
      expect(readReaderToken(Buffer.from(other))).toBeUndefined()
    }
    expect(readReaderToken(dialer.secret)).toBeUndefined()
  })
})

/** A length as LEB128. */
function lengthOf({ length }: Uint8Array): number[] {
  return length < 128 ? [length] : [(length & 127) | 128, length >> 7]
}

function withVersion(hello: Uint8Array, version: number): Uint8Array {
  const copy = hello.slice()
  copy[5] = version
  return copy
}

function helloWith(environment: string): Uint8Array {
  const text = Buffer.from(environment)
  return Buffer.concat([
    Buffer.from('cairn'),
    Uint8Array.of(1, text.length),
    text,
    Uint8Array.of(3),
    Buffer.from('job'),
    Buffer.alloc(32),
  ])
}
