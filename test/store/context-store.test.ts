/** Examples of the familiar interface: a context store in memory, adapters with keys of their own, and the dump of a store to disk. */
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ContextAdapter } from '../../src/context-adapter.ts'
import { type ContextStore, dumpContextToDisk } from '../../src/context-store.ts'
import { toJson } from '../../src/model/value.ts'
import { InMemoryContextStore } from '../../src/in-memory-context-store.ts'
import type { Key } from '../../src/model/key.ts'
import type { Value } from '../../src/model/value.ts'
import { openMemoryStore } from '../../src/open-store.ts'
import { temporaryDirectory } from '../storage/places.ts'

const stores: [string, () => ContextStore][] = [
  ['a store', () => openMemoryStore({ worker: 'w' })],
  ['a store in memory by its familiar name', () => new InMemoryContextStore()],
]

describe.each(stores)('%s', (_, open) => {
  test('sets, gets, deletes and lists', () => {
    const store = open()
    expect(store.listKeys()).toEqual([])
    store.set(['b', 1], { x: 1 })
    store.set(['a'], null)
    expect(store.get(['b', 1])).toEqual({ x: 1 })
    expect(store.get(['a'])).toBeNull()
    expect(store.get(['none'])).toBeUndefined()
    expect(store.listKeys()).toEqual([['a'], ['b', 1]])
    expect(store.listKeys(['b'])).toEqual([['b', 1]])
    expect(store.delete(['a'])).toBe(true)
    expect(store.delete(['a'])).toBe(false)
    expect(store.listKeys()).toEqual([['b', 1]])
  })

  test('refuses what is no key and no value', () => {
    const store = open()
    expect(() => store.set([1.5], 1)).toThrow(expect.objectContaining({ code: 'KEY_INVALID' }))
    expect(() => store.set(['a'], undefined as never)).toThrow(
      expect.objectContaining({ code: 'VALUE_INVALID' }),
    )
    expect(store.listKeys()).toEqual([])
  })
})

describe('an adapter', () => {
  class Table extends ContextAdapter {
    readonly #columns: readonly string[]

    constructor(store: ContextStore, columns: readonly string[]) {
      super(store, ['table', 'genes'])
      this.#columns = columns
    }

    protected override isValidKey(key: Key): boolean {
      return key.length === 2 && key[0] === 'column' && this.#columns.includes(String(key[1]))
    }
  }

  test('keeps the context of its parts below its own prefix', () => {
    const store = new InMemoryContextStore()
    const table = new Table(store, ['symbol', 'name'])
    store.set(['table', 'other', 'column', 'symbol'], 'not ours')
    table.addContext(['column', 'symbol'], { source: 'PubMed' })
    expect(table.getContext(['column', 'symbol'])).toEqual({ source: 'PubMed' })
    expect(table.getContext(['column', 'name'])).toBeUndefined()
    expect(store.get(['table', 'genes', 'column', 'symbol'])).toEqual({ source: 'PubMed' })
    expect(table.listContextKeys()).toEqual([['column', 'symbol']])
    expect(table.listContextKeys(['column'])).toEqual([['column', 'symbol']])
    expect(table.listContextKeys(['row'])).toEqual([])
    expect(table.removeContext(['column', 'symbol'])).toBe(true)
    expect(table.removeContext(['column', 'symbol'])).toBe(false)
    expect(table.listContextKeys()).toEqual([])
  })

  test('refuses parts that the structure does not have, with KEY_INVALID, and changes nothing', () => {
    const store = new InMemoryContextStore()
    const table = new Table(store, ['symbol'])
    const refusal = expect.objectContaining({ code: 'KEY_INVALID', hint: expect.stringMatching(/./) })
    for (const key of [['column', 'other'], ['row', 1], [], ['column']] as Key[]) {
      expect(() => table.addContext(key, 1)).toThrow(refusal)
      expect(() => table.getContext(key)).toThrow(refusal)
      expect(() => table.removeContext(key)).toThrow(refusal)
    }
    expect(store.listKeys()).toEqual([])
  })

  test('without a prefix or a rule of its own takes every key of the store', () => {
    const store = new InMemoryContextStore()
    const adapter = new ContextAdapter(store)
    adapter.addContext(['a', 1], true)
    expect(store.get(['a', 1])).toBe(true)
    expect(adapter.listContextKeys(['a'])).toEqual([['a', 1]])
    expect(() => adapter.addContext([], 1)).toThrow(expect.objectContaining({ code: 'KEY_INVALID' }))
  })
})

describe('a dump', () => {
  test('is one JSON object a line, in key order, names sorted', async () => {
    const store = openMemoryStore({ worker: 'w' })
    store.set(['b', 2], { z: 1, a: [true, null], nested: { d: 1, c: 2 } })
    store.set(['a'], 'line\nbreak')
    const path = join(temporaryDirectory(), 'dump.jsonl')
    expect(await dumpContextToDisk(store, path)).toBe(2)
    expect(readFileSync(path, 'utf8')).toBe(
      '{"key":["a"],"value":"line\\nbreak"}\n' +
        '{"key":["b",2],"value":{"a":[true,null],"nested":{"c":2,"d":1},"z":1}}\n',
    )
    expect(statSync(path).mode & 0o777).toBe(0o600)
  })

  test('says what JSON has no form for', () => {
    const values: [Value, unknown][] = [
      [5n, { $integer: '5' }],
      [2n ** 63n, { $integer: '9223372036854775808' }],
      [Number.NaN, { $number: 'NaN' }],
      [-Infinity, { $number: '-Infinity' }],
      [Uint8Array.of(0, 255), { $bytes: 'AP8=' }],
      [new Uint8Array(0), { $bytes: '' }],
      [
        [1, [2n]],
        [1, [{ $integer: '2' }]],
      ],
      [
        { constructor: 1, b: 1n },
        { b: { $integer: '1' }, constructor: 1 },
      ],
    ]
    for (const [value, json] of values) expect(toJson(value)).toEqual(json)
  })

  test('of a prefix, and of nothing, has just that', async () => {
    const store = new InMemoryContextStore()
    store.set(['a', 1], 1)
    store.set(['b', 1], 2)
    const directory = temporaryDirectory()
    expect(await dumpContextToDisk(store, join(directory, 'b'), ['b'])).toBe(1)
    expect(readFileSync(join(directory, 'b'), 'utf8')).toBe('{"key":["b",1],"value":2}\n')
    expect(await dumpContextToDisk(store, join(directory, 'c'), ['c'])).toBe(0)
    expect(readFileSync(join(directory, 'c'), 'utf8')).toBe('')
  })

  test('replaces what was there, whole', async () => {
    const store = new InMemoryContextStore()
    const path = join(temporaryDirectory(), 'dump')
    writeFileSync(path, 'something longer than the dump will be')
    store.set(['a'], 1)
    await dumpContextToDisk(store, path)
    expect(readFileSync(path, 'utf8')).toBe('{"key":["a"],"value":1}\n')
  })

  test('that fails leaves what was there, and no file of its own', async () => {
    const directory = temporaryDirectory()
    const path = join(directory, 'dump')
    writeFileSync(path, 'before')
    const store = new InMemoryContextStore()
    store.set(['a'], 1)
    store.set(['b'], 2)
    const failing: ContextStore = {
      set: () => {},
      get: (key) => {
        if (key[0] === 'b') throw new Error('gone')
        return store.get(key)
      },
      delete: () => false,
      listKeys: () => store.listKeys(),
    }
    await expect(dumpContextToDisk(failing, path)).rejects.toThrow('gone')
    expect(readFileSync(path, 'utf8')).toBe('before')
    expect(readdirSync(directory)).toEqual(['dump'])
    await expect(dumpContextToDisk(store, join(directory, 'none', 'dump'))).rejects.toThrow(/ENOENT/)
    expect(existsSync(join(directory, 'none'))).toBe(false)
    chmodSync(path, 0o600)
  })
})
