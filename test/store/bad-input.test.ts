/** Bad input: each is told by code, sentence and hint at the call, and nothing has changed. */
import { beforeEach, describe, expect, test } from 'vitest'
import { ContextStoreError, type ErrorCode } from '../../src/errors.ts'
import type { Key } from '../../src/model/key.ts'
import type { Value } from '../../src/model/value.ts'
import { openMemoryStore } from '../../src/open-store.ts'
import type { WorkTransaction } from '../../src/context/progress.ts'
import type { Transaction } from '../../src/context/registers.ts'
import type { Store } from '../../src/store.ts'
import { openAlone } from '../support/meet.ts'
import { contentsOf } from './contents.ts'

let store: Store

beforeEach(async () => {
  store = openAlone('w')
  store.set(['k', 1], { before: true })
  store.counter('rows').add(5)
  store.counter('rows').add(3, { once: 'x' })
  store.progress('step').done([1, 2, 'named'])
  store.statistic('delay').observe(2)
  store.statistic('delay', { scope: 1 }).observe(3)
  await store.flush()
})

const invalidKeys: [string, unknown][] = [
  ['no elements', []],
  ['text', 'k'],
  ['null', null],
  ['undefined', undefined],
  ['an object', { a: 1 }],
  ['a float', ['k', 1.5]],
  ['NaN', ['k', Number.NaN]],
  ['an integer that is too large', ['k', 2 ** 53]],
  ['a bigint', ['k', 1n]],
  ['a nested key', ['k', ['nested']]],
  ['null as element', ['k', null]],
  ['undefined as element', ['k', undefined]],
  ['an object as element', ['k', {}]],
  ['half a surrogate pair', ['k', '\ud83d']],
  ['1,025 bytes', ['x'.repeat(1023)]],
]

describe('an invalid key is refused with KEY_INVALID by every method that takes one:', () => {
  test.each(invalidKeys)('%s', (_, invalid) => {
    const key = invalid as Key
    expectRefused('KEY_INVALID', () => store.set(key, 1))
    expectRefused('KEY_INVALID', () => store.get(key))
    expectRefused('KEY_INVALID', () => store.has(key))
    expectRefused('KEY_INVALID', () => store.entry(key))
    expectRefused('KEY_INVALID', () => store.delete(key))
    expectRefused('KEY_INVALID', () => store.compareAndSet(key, undefined, 1))
    expectRefused('KEY_INVALID', () => store.read([['k', 1], key]))
  })

  test.each(invalidKeys)('%s, in a batch, of which nothing is written', async (_, invalid) => {
    const key = invalid as Key
    await expectRejected('KEY_INVALID', () =>
      store.batch((transaction) => {
        transaction.set(['other'], 1)
        transaction.set(key, 1)
      }),
    )
    await expectRejected('KEY_INVALID', () =>
      store.batch((transaction) => {
        transaction.delete(['k', 1])
        transaction.delete(key)
      }),
    )
    await expectRejected('KEY_INVALID', () => store.batch((transaction) => transaction.check(key, undefined)))
  })

  const invalidPrefixes = invalidKeys.filter(([what]) => what !== 'no elements' && what !== 'undefined')

  test.each(invalidPrefixes)('%s, as a prefix', (_, invalid) => {
    const prefix = invalid as Key
    expectRefused('KEY_INVALID', () => [...store.keys(prefix)])
    expectRefused('KEY_INVALID', () => [...store.entries(prefix)])
    expectRefused('KEY_INVALID', () => [...store.conflicts(prefix)])
    expectRefused('KEY_INVALID', () => store.count(prefix))
    expectRefused('KEY_INVALID', () => store.listKeys(prefix))
  })
})

describe('an invalid value is refused with VALUE_INVALID:', () => {
  class Point {
    readonly x = 1
  }
  const cycle: unknown[] = []
  cycle.push([cycle])
  let deep: unknown = 1
  for (let i = 0; i < 100; i++) deep = [deep]
  const invalidValues: [string, unknown][] = [
    ['undefined', undefined],
    ['a function', () => 1],
    ['a symbol', Symbol('x')],
    ['a cycle', cycle],
    ['undefined inside', { a: [undefined] }],
    ['a Date', new Date()],
    ['a Map', new Map()],
    ['a Set', new Set()],
    ['a class instance', new Point()],
    ['an heir of nothing', Object.create(Object.create(null) as object)],
    ['too deep', deep],
    ['too large', 'x'.repeat(1024 * 1024 + 100)],
    ['too large bytes', new Uint8Array(1024 * 1024 + 100)],
    ['a bigint of 65 bits', 2n ** 64n],
    ['__proto__', JSON.parse('{"a": {"__proto__": 1}}')],
    ['toJSON', { toJSON: 1 }],
    ['half a surrogate pair', { a: '\ud83d' }],
  ]

  test.each(invalidValues)('%s', async (_, invalid) => {
    const value = invalid as Value
    expectRefused('VALUE_INVALID', () => store.set(['new'], value))
    expectRefused('VALUE_INVALID', () => store.set(['k', 1], value))
    expectRefused('VALUE_INVALID', () => store.compareAndSet(['new'], undefined, value))
    await expectRejected('VALUE_INVALID', () =>
      store.batch((transaction) => {
        transaction.set(['other'], 1)
        transaction.set(['new'], value)
      }),
    )
  })

  test('the largest value is none of them', () => {
    const largest = new Uint8Array(1024 * 1024 - 10)
    store.set(['large'], largest)
    expect(store.get(['large'])).toEqual(largest)
  })
})

describe('a counter refuses with NUMBER_INVALID', () => {
  const amounts: [string, unknown][] = [
    ['NaN', Number.NaN],
    ['infinity', Infinity],
    ['a float', 0.5],
    ['an integer that is not safe', 2 ** 53],
    ['a bigint', 5n],
    ['text', '5'],
    ['null', null],
    ['an object', {}],
  ]

  test.each(amounts)('%s', (_, amount) => {
    expectRefused('NUMBER_INVALID', () => store.counter('rows').add(amount as number))
    expectRefused('NUMBER_INVALID', () => store.counter('rows').add(amount as number, { once: 'y' }))
    expectRefused('NUMBER_INVALID', () => store.counter('new').add(amount as number))
  })

  test('what would pass 2^53 - 1, upwards or downwards', () => {
    store.counter('large').add(Number.MAX_SAFE_INTEGER)
    store.counter('large').add(-Number.MAX_SAFE_INTEGER)
    expectRefused('NUMBER_INVALID', () => store.counter('large').add(1))
    expectRefused('NUMBER_INVALID', () => store.counter('large').add(-1))
    expect(store.counter('large').value).toBe(0)
  })

  test('nothing else of an id than a key may hold', () => {
    for (const id of [1.5, null, {}, ['a'], Number.NaN, '\ud83d', 'x'.repeat(1_020)]) {
      expectRefused('KEY_INVALID', () => store.counter('rows').add(1, { once: id as string }))
    }
  })
})

describe('progress refuses with NUMBER_INVALID', () => {
  const ids: [string, unknown][] = [
    ['a negative id', -1],
    ['a float', 1.5],
    ['NaN', Number.NaN],
    ['infinity', Infinity],
    ['an id that is not safe', 2 ** 53],
    ['a bigint', 5n],
    ['an empty name', ''],
    ['null', null],
    ['undefined', undefined],
    ['a boolean', true],
  ]

  test.each(ids)('%s', (_, id) => {
    const step = store.progress('step')
    expectRefused('NUMBER_INVALID', () => step.done(id as number))
    expectRefused('NUMBER_INVALID', () => step.done([7, id as number, 8]))
    expectRefused('NUMBER_INVALID', () => step.done(id as number, (work) => work.set(['other'], 1)))
    expectRefused('NUMBER_INVALID', () => step.has(id as number))
    expectRefused('NUMBER_INVALID', () => step.doneRange(id as number, 9))
    expectRefused('NUMBER_INVALID', () => step.doneRange(0, id as number))
  })

  test('an empty range, and one that would fill the memory', () => {
    expectRefused('NUMBER_INVALID', () => store.progress('step').doneRange(5, 4))
    expectRefused('NUMBER_INVALID', () => store.progress('step').doneRange(0, 2 ** 30))
    expectRefused('NUMBER_INVALID', () => store.progress('step').doneRange(0, Number.MAX_SAFE_INTEGER))
  })

  test('a total that is none', () => {
    for (const total of [-1, 1.5, Number.NaN, 2 ** 53, '5', null]) {
      expectRefused('NUMBER_INVALID', () => store.progress('step', { total: total as number }))
    }
  })

  test('to tell what is missing without a total', () => {
    expectRefused('NUMBER_INVALID', () => store.progress('step').missing())
  })

  test('names that fit no key, with KEY_INVALID, and marks none of those beside them', () => {
    for (const name of ['x'.repeat(1_030), 'half \ud83d']) {
      expectRefused('KEY_INVALID', () => store.progress('step').done(['fine', name]))
      expectRefused('KEY_INVALID', () => store.progress('step').done(name, (work) => work.set(['other'], 1)))
    }
  })

  test('several items where something is recorded with one', () => {
    expectRefused('NUMBER_INVALID', () =>
      store.progress('step').done([8, 9], (work) => work.set(['other'], 1)),
    )
  })

  test('in what is recorded with an item the numbers that counters and statistics refuse', () => {
    const step = store.progress('step')
    for (const x of [Number.NaN, Infinity, 2 ** 500]) {
      expectRefused('NUMBER_INVALID', () =>
        step.done(9, (work) => {
          work.observe('delay', 1)
          work.observe('delay', x)
        }),
      )
    }
    for (const amount of [1.5, Number.NaN, 2 ** 53]) {
      expectRefused('NUMBER_INVALID', () =>
        step.done(9, (work) => {
          work.set(['other'], 1)
          work.count('rows', amount)
        }),
      )
    }
    expectRefused('KEY_INVALID', () => step.done(9, (work) => work.count('x'.repeat(1_020), 1)))
    expectRefused('KEY_INVALID', () => step.done(9, (work) => work.observe('x'.repeat(1_020), 1)))
    expectRefused('NAME_INVALID', () => step.done(9, (work) => work.count('', 1)))
  })
})

describe('a statistic refuses with NUMBER_INVALID', () => {
  test.each([Number.NaN, Infinity, -Infinity, 2 ** 481, '5', null, undefined, 5n])('%s', (x) => {
    expectRefused('NUMBER_INVALID', () => store.statistic('delay').observe(x as number))
    expectRefused('NUMBER_INVALID', () => store.statistic('new').observe(x as number))
    expectRefused('NUMBER_INVALID', () => store.statistic('new', { scope: 1 }).observe(x as number))
  })

  test('scopes that fit no key, with KEY_INVALID', () => {
    for (const scope of [1.5, [1, [2]], null, 'x'.repeat(1_030)]) {
      expectRefused('KEY_INVALID', () => store.statistic('delay', { scope: scope as number }))
    }
  })
})

describe('names are refused', () => {
  const makers: [string, (name: string) => unknown][] = [
    ['of counters', (name) => store.counter(name)],
    ['of steps', (name) => store.progress(name)],
    ['of statistics', (name) => store.statistic(name)],
    ['of events', (name) => store.journal.append(name)],
  ]

  test.each(makers)('%s, with NAME_INVALID where they are empty or no text', (_, make) => {
    for (const name of ['', undefined, null, 5, {}, ['a']])
      expectRefused('NAME_INVALID', () => make(name as string))
  })

  test.each(makers)('%s, with KEY_INVALID where they do not fit a key', (_, make) => {
    for (const name of ['half \ud83d', 'x'.repeat(2_000)]) expectRefused('KEY_INVALID', () => make(name))
  })

  test('of workers', () => {
    for (const name of ['', 'a/b', '.a', 'a b', 'x'.repeat(129), 5, null, undefined]) {
      expectRefused('NAME_INVALID', () => store.as(name as string))
      expectRefusedAlone('NAME_INVALID', () => openMemoryStore({ worker: (name ?? '') as string }))
    }
  })

  test('of steps where they leave no room for items', () => {
    expectRefused('KEY_INVALID', () => store.progress('x'.repeat(1_016)))
    const step = store.progress('x'.repeat(1_014))
    step.done(Number.MAX_SAFE_INTEGER)
    expect(step.count).toBe(1)
    expectRefused('KEY_INVALID', () => step.done('y'.repeat(10)))
    expect(step.count).toBe(1)
  })
})

describe('a batch is refused with OPTION_INVALID', () => {
  test('where its function is asynchronous, of which nothing is written', async () => {
    const careless: (transaction: Transaction) => unknown = async (transaction) => {
      transaction.set(['other'], 1)
      await Promise.resolve()
      transaction.set(['another'], 1)
    }
    const failing: () => unknown = () => Promise.reject(new Error('later'))
    await expectRejected('OPTION_INVALID', () => store.batch(careless))
    await expectRejected('OPTION_INVALID', () => store.batch(failing))
  })

  test('where it is written to after it is over', async () => {
    let late: { set(key: Key, value: Value): void; delete(key: Key): void } | undefined
    await store.batch((transaction) => {
      late = transaction
    })
    expectRefused('OPTION_INVALID', () => late?.set(['other'], 1))
    expectRefused('OPTION_INVALID', () => late?.delete(['k', 1]))
    let thrown = late
    const failed = store.batch((transaction) => {
      thrown = transaction
      throw new Error('given up')
    })
    await expect(failed).rejects.toThrow('given up')
    expectRefused('OPTION_INVALID', () => thrown?.set(['other'], 1))
  })
})

describe('what is recorded with an item is refused with OPTION_INVALID', () => {
  test('where the function is asynchronous, and the item is not done', () => {
    const careless: (work: WorkTransaction) => unknown = async (work) => {
      work.set(['other'], 1)
      work.count('rows', 1)
      await Promise.resolve()
      work.observe('delay', 1)
    }
    expectRefused('OPTION_INVALID', () => store.progress('step').done(9, careless))
  })

  test('where it comes after the function', () => {
    let late: WorkTransaction | undefined
    store.progress('step').done(9, (work) => {
      late = work
    })
    expectRefused('OPTION_INVALID', () => late?.set(['other'], 1))
    expectRefused('OPTION_INVALID', () => late?.count('rows', 1))
    expectRefused('OPTION_INVALID', () => late?.observe('delay', 1))
  })
})

test('a store without a checkpoint directory neither checkpoints nor restores', async () => {
  await expectRejected('OPTION_INVALID', () => store.checkpoint())
  await expectRejected('OPTION_INVALID', () => store.restore())
})

test('256 incarnations may have written a key, and the next is refused with CONTEXT_TOO_LONG', () => {
  const key = ['crowded']
  for (let i = 0; i <= 256; i++) store.as(`w${i}`).set(key, i)
  expectRefused('CONTEXT_TOO_LONG', () => store.as('one-too-many').set(key, 'x'))
  expectRefused('CONTEXT_TOO_LONG', () => store.as('one-too-many').delete(key))
  expect(store.get(key)).toBe(256)
})

function expectRefused(code: ErrorCode, act: () => unknown): void {
  const before = contentsOf(store)
  expectRefusedAlone(code, act)
  expect(contentsOf(store)).toEqual(before)
}

function expectRefusedAlone(code: ErrorCode, act: () => unknown): void {
  let refusal: unknown
  try {
    act()
  } catch (error) {
    refusal = error
  }
  checkRefusal(code, refusal)
}

async function expectRejected(code: ErrorCode, act: () => Promise<unknown>): Promise<void> {
  const before = contentsOf(store)
  const refusal: unknown = await act().catch((error: unknown) => error)
  checkRefusal(code, refusal)
  expect(contentsOf(store)).toEqual(before)
}

function checkRefusal(code: ErrorCode, refusal: unknown): void {
  expect(refusal).toBeInstanceOf(ContextStoreError)
  expect(refusal).toMatchObject({ name: 'ContextStoreError', code })
  const { message, hint } = refusal as ContextStoreError
  expect(message).toMatch(/\.$/)
  expect(message.length).toBeLessThan(3_000)
  expect(hint).not.toBe('')
}
