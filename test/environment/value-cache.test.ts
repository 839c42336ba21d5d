/** Values that are read often: never an old one, whoever wrote, and never one that a reader can change for others. */
import { expect, test } from 'vitest'
import { openStore, type Key } from '../../src/index.ts'
import { ValueCache } from '../../src/environment/value-cache.ts'
import { indexKeyFor, cellKind } from '../../src/model/cell.ts'
import { meet, openAlone } from '../support/meet.ts'

const place = (key: Key) => indexKeyFor(cellKind.register, key)

test('a key that is read again and again shows every change of it, own and learnt', async () => {
  const [a, b] = [openAlone('a'), openAlone('b')]
  const key = ['partition', 17]
  for (let round = 0; round < 20; round++) {
    const writer = round % 3 === 0 ? b : a
    if (round % 5 === 4) writer.delete(key)
    else writer.set(key, { round })
    meet(a, b)
    const expected = round % 5 === 4 ? undefined : { round }
    for (let read = 0; read < 4; read++) {
      expect(a.get(key)).toEqual(expected)
      expect(b.get(key)).toEqual(expected)
    }
  }
  await a.close()
  await b.close()
})

test('keys that look alike are different keys', async () => {
  const store = await openStore({ worker: 'a' })
  const keys: Key[] = [['a\0b'], ['a', 'b'], [1], ['1'], [true], ['true'], ['a\0', 'b'], ['a', '\0b']]
  keys.forEach((key, i) => store.set(key, i))
  for (let read = 0; read < 4; read++)
    expect(keys.map((key) => store.get(key))).toEqual(keys.map((_, i) => i))
  await store.close()
})

test('a value that was read cannot be changed, or is not shared', async () => {
  const store = await openStore({ worker: 'a' })
  store.set(['plain'], { list: [{ deep: 1 }] })
  store.set(['bytes'], { bytes: Uint8Array.of(1, 2) })
  const thrown: unknown[] = []
  for (let read = 0; read < 4; read++) {
    const plain = store.get(['plain']) as { list: { deep: number }[] }
    const bytes = store.get(['bytes']) as { bytes: Uint8Array }
    expect(plain).toEqual({ list: [{ deep: 1 }] })
    expect(bytes).toEqual({ bytes: Uint8Array.of(1, 2) })
    bytes.bytes[0] = 99
    try {
      ;(plain.list[0] as { deep: number }).deep = 2
    } catch (error) {
      thrown.push(error)
    }
  }
  // By then it is shared, and frozen all through.
  expect(thrown.at(-1)).toBeInstanceOf(TypeError)
  await store.close()
})

test('misuse is told as ever, also where much is cached', async () => {
  const store = await openStore({ worker: 'a' })
  store.set(['k'], 1)
  for (let read = 0; read < 4; read++) store.get(['k'])
  for (const key of [undefined, 'k', [], [1.5], [{}]]) {
    expect(() => store.get(key as never)).toThrow(expect.objectContaining({ code: 'KEY_INVALID' }))
  }
  await store.close()
})

test('the cache keeps what is read lately, within its bound', () => {
  const cache = new ValueCache()
  const keys = Array.from({ length: 60_000 }, (_, i): Key => ['key', i])
  for (const key of keys) {
    cache.offer(key, place(key), { key: key[1] as number })
    cache.offer(key, place(key), { key: key[1] as number })
    cache.get(['key', 5])
  }
  expect(cache.get(['key', 5])).toEqual({ key: 5 })
  expect(keys.filter((key) => cache.get(key) !== undefined).length).toBeLessThan(2 * 16_384)
  cache.forget(place(['key', 5]))
  expect(cache.get(['key', 5])).toBeUndefined()
  cache.clear()
  expect(keys.some((key) => cache.get(key) !== undefined)).toBe(false)
})
