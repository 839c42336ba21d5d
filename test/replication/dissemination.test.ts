import { describe, expect, test } from 'vitest'
import { coversClocks, type Clocks } from '../../src/model/clocks.ts'
import { contextShard, type ShardName } from '../../src/model/shard.ts'
import { Dissemination, askAgainMs, patienceMs, type News } from '../../src/replication/dissemination.ts'
import { gossip, percentile } from '../support/gossip-rounds.ts'

const worker = 'rank-1'
const shard = contextShard(worker, 'all')
const news = (clock: number): News => new Map([[shard, new Map([[7, clock]])]])
const none = (): boolean => false
const all = (): boolean => true
const upTo =
  (clock: number) =>
  (_: ShardName, clocks: Clocks): boolean =>
    coversClocks(new Map([[7, clock]]), clocks)

function among(...links: string[]): Dissemination<string> {
  const dissemination = new Dissemination<string>()
  for (const link of links) dissemination.joined(link)
  return dissemination
}

describe('what is pushed', () => {
  test('goes on to everybody but its sender, and nobody is told of it', () => {
    const dissemination = among('a', 'b', 'c')
    expect(dissemination.push(worker, news(1), 'a')).toEqual(['b', 'c'])
    expect(dissemination.tick(0, all)).toEqual({ tell: [], ask: [] })
  })

  test('is told to who declines it, unless that one told of it', () => {
    const dissemination = among('a', 'b', 'c')
    dissemination.declined([worker], 'b')
    dissemination.declined([worker], 'c')
    expect(dissemination.push(worker, news(1), 'a')).toEqual([])
    dissemination.heard(news(1), 'c', 0)
    expect(dissemination.tick(0, all).tell).toEqual([['b', news(1)]])
    expect(dissemination.tick(100, all).tell).toEqual([])
  })

  test('is pushed again to who asks', () => {
    const dissemination = among('a', 'b')
    dissemination.declined([worker], 'b')
    dissemination.wanted([worker], 'b')
    expect(dissemination.push(worker, news(1))).toEqual(['a', 'b'])
  })

  test('is declined where two others bring it, and not again at once', () => {
    const dissemination = among('a', 'b', 'c')
    dissemination.push(worker, news(1), 'a')
    expect(dissemination.repeated(worker, 'a', 0)).toBe(false)
    expect(dissemination.repeated(worker, 'b', 0)).toBe(false)
    expect(dissemination.repeated(worker, 'c', 0)).toBe(true)
    expect(dissemination.repeated(worker, 'c', 10)).toBe(false)
    dissemination.left('a')
    expect(dissemination.repeated(worker, 'c', 20_000)).toBe(false)
  })
})

describe('what came in otherwise', () => {
  test('is told to everybody but its sender, once, together', () => {
    const dissemination = among('a', 'b')
    dissemination.tell(news(1), 'a')
    dissemination.tell(news(3), 'a')
    expect(dissemination.tick(0, all).tell).toEqual([['b', news(3)]])
  })
})

describe('what is told of', () => {
  test('is asked for where nobody brings it', () => {
    const dissemination = among('a', 'b')
    dissemination.heard(news(2), 'a', 0)
    expect(dissemination.tick(patienceMs - 1, none).ask).toEqual([])
    expect(dissemination.tick(patienceMs, none).ask).toEqual([['a', [worker]]])
  })

  test('is not asked for where it has come', () => {
    const dissemination = among('a')
    dissemination.heard(news(2), 'a', 0)
    expect(dissemination.tick(patienceMs, upTo(2)).ask).toEqual([])
  })

  test('is asked of two at once, then of the others, later and later', () => {
    const dissemination = among('a', 'b', 'c', 'd')
    for (const link of ['a', 'b', 'c', 'd']) dissemination.heard(news(2), link, 0)
    const times: number[] = []
    const asked: string[] = []
    for (let nowMs = 100; nowMs < 60_000; nowMs += 100) {
      for (const [link] of dissemination.tick(nowMs, none).ask) {
        times.push(nowMs)
        asked.push(link)
      }
    }
    expect(asked.slice(0, 4)).toEqual(['a', 'b', 'c', 'd'])
    expect(times.slice(0, 4)).toEqual([100, 100, 100 + askAgainMs.first, 100 + askAgainMs.first])
    expect(times.length).toBeLessThan(40)
  })
})

describe('among many stores', () => {
  test('a change is everywhere in a few rounds, though a tenth of all messages is lost', () => {
    const report = gossip({ stores: 200, loss: 0.1, seed: 3, writers: 4, changes: 20 })
    expect(report.rounds.every((rounds) => rounds >= 0)).toBe(true)
    expect(percentile(report.rounds, 0.5)).toBeLessThanOrEqual(8)
    expect(percentile(report.rounds, 0.99)).toBeLessThanOrEqual(14)
    expect(report.receivedLater).toBeLessThanOrEqual(2.5)
  })

  test('nothing is asked for twice where nothing is lost', () => {
    const report = gossip({ stores: 200, loss: 0, seed: 3, writers: 4, changes: 20 })
    expect(Math.max(...report.rounds)).toBeLessThanOrEqual(6)
    expect(report.receivedLater).toBeLessThanOrEqual(2)
  })
})
