/** Examples of the small ports: codec, randomness, time, log, assertions. */
import { describe, expect, test, vi } from 'vitest'
import { assert, AssertionError, present } from '../../src/base/assert.ts'
import { toHex } from '../../src/base/bytes.ts'
import { pack, unpack } from '../../src/base/codec.ts'
import { silentLog, standardErrorLog } from '../../src/base/log.ts'
import { seededRandom, systemRandom } from '../../src/base/random.ts'
import { sleep, systemTime } from '../../src/base/time.ts'

describe('the codec', () => {
  test('packs what any reader of msgpack can read alone: no records, short maps', () => {
    expect(toHex(pack({ a: 1 }))).toBe('81a16101')
    expect(toHex(pack([{ a: 1 }, { a: 2 }]))).toBe('9281a1610181a16102')
    expect(toHex(pack(null))).toBe('c0')
    expect(toHex(pack(5n))).toBe('d30000000000000005')
    expect(toHex(pack(1.5))).toBe('cb3ff8000000000000')
  })

  test('gives bytes that later packing leaves alone', () => {
    const first = pack('x'.repeat(100))
    const copy = toHex(first)
    for (let i = 0; i < 1_000; i++) pack('y'.repeat(100))
    expect(toHex(first)).toBe(copy)
  })

  test('refuses what is cut short, what has bytes left over, and nothing at all', () => {
    expect(() => unpack(pack([1, 2, 3]).subarray(0, 3))).toThrow(/./)
    expect(() => unpack(Buffer.concat([pack(1), pack(2)]))).toThrow(/./)
    expect(() => unpack(new Uint8Array(0))).toThrow(/./)
  })

  test('builds no object of another prototype, whatever the bytes say', () => {
    const bytes = Buffer.from('81a95f5f70726f746f5f5f81a8706f6c6c7574656401', 'hex')
    const value = unpack(bytes) as Record<string, unknown>
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
    expect(value['polluted']).toBeUndefined()
  })
})

describe('randomness', () => {
  test('of equal seeds is equal, of others not', () => {
    const drawn = (seed: number) => toHex(seededRandom(seed).bytes(32))
    expect(drawn(5)).toBe(drawn(5))
    expect(new Set(Array.from({ length: 100 }, (_, seed) => drawn(seed))).size).toBe(100)
  })

  test.each([
    ['of the system', systemRandom],
    ['from a seed', seededRandom(7)],
  ])('%s gives safe integers above 0 over all 53 bits, and fractions below 1', (_, random) => {
    const integers = Array.from({ length: 2_000 }, () => random.safeInteger())
    expect(integers.every((value) => Number.isSafeInteger(value) && value > 0)).toBe(true)
    expect(new Set(integers).size).toBe(2_000)
    expect(integers.some((value) => value > 2 ** 52)).toBe(true)
    expect(new Set(integers.map((value) => value % 2)).size).toBe(2)
    const fractions = Array.from({ length: 2_000 }, () => random.fraction())
    expect(fractions.every((value) => value >= 0 && value < 1)).toBe(true)
    const mean = fractions.reduce((sum, value) => sum + value) / 2_000
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.05)
    expect(random.bytes(0)).toHaveLength(0)
  })
})

describe('time', () => {
  test('calls once, unless it is cancelled', async () => {
    const called: string[] = []
    systemTime.after(1, () => called.push('late'))
    const timer = systemTime.after(1, () => called.push('cancelled'))
    timer.cancel()
    await vi.waitUntil(() => called.length > 0)
    await sleep(systemTime, 5)
    expect(called).toEqual(['late'])
    timer.cancel()
  })

  test('goes on', () => {
    const before = systemTime.monotonic()
    expect(systemTime.monotonic()).toBeGreaterThanOrEqual(before)
    expect(Math.abs(systemTime.now() - Date.now())).toBeLessThan(60_000)
  })
})

describe('a log', () => {
  test('on standard error writes one line of JSON a message', () => {
    const lines: string[] = []
    const spy = vi.spyOn(process.stderr, 'write').mockImplementation((line) => lines.push(String(line)) > 0)
    standardErrorLog.warn('two\nlines', { code: 'X' })
    standardErrorLog.info('plain')
    spy.mockRestore()
    expect(lines).toHaveLength(2)
    expect(lines.every((line) => line.indexOf('\n') === line.length - 1)).toBe(true)
    expect(JSON.parse(lines[0] as string)).toMatchObject({ level: 'warn', message: 'two\nlines', code: 'X' })
    expect(JSON.parse(lines[1] as string)).toMatchObject({ level: 'info', message: 'plain' })
  })

  test('that is silent says nothing', () => {
    expect(silentLog.info('x')).toBeUndefined()
    expect(silentLog.warn('x', { a: 1 })).toBeUndefined()
  })
})

describe('an assertion', () => {
  test('throws where what must hold does not', () => {
    expect(() => assert(false, 'one is two')).toThrow(AssertionError)
    expect(() => assert(false, 'one is two')).toThrow(/one is two/)
    expect(() => present(undefined, 'there')).toThrow(AssertionError)
    expect(() => present(null, 'there')).toThrow(AssertionError)
    expect([present(0, 'zero'), present('', 'empty'), present(false, 'false')]).toEqual([0, '', false])
  })
})
