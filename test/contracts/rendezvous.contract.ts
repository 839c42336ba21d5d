/** What every rendezvous must do. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Rendezvous, RendezvousEntry } from '../../src/replication/rendezvous.ts'

export const firstEntry: RendezvousEntry = {
  environment: 'aaaaaaaa',
  addresses: ['ws://first:1', 'ws://first:2'],
}
export const secondEntry: RendezvousEntry = { environment: 'bbbbbbbb', addresses: ['ws://second:1'] }

/**
 * @param setUp two stores' views of one place where `firstEntry` and `secondEntry` end up being known
 */
export function rendezvousContract(
  name: string,
  setUp: () => Promise<{ first: Rendezvous; second: Rendezvous; tearDown: () => Promise<void> }>,
): void {
  describe(`rendezvous contract: ${name}`, () => {
    let first: Rendezvous
    let second: Rendezvous
    let tearDown: () => Promise<void>

    beforeEach(async () => {
      ;({ first, second, tearDown } = await setUp())
    })

    afterEach(() => tearDown())

    test('those who announce themselves find one another', async () => {
      await first.announce(firstEntry)
      await second.announce(secondEntry)
      expect(byEnvironment(await first.peers())).toEqual([firstEntry, secondEntry])
      expect(byEnvironment(await second.peers())).toEqual([firstEntry, secondEntry])
    })

    test('addresses keep their order', async () => {
      await first.announce(firstEntry)
      const [found] = byEnvironment(await second.peers())
      expect(found?.addresses).toEqual(firstEntry.addresses)
    })

    test('announcing again changes nothing', async () => {
      for (let i = 0; i < 3; i++) await first.announce(firstEntry)
      const found = (await second.peers()).filter(({ environment }) => environment === firstEntry.environment)
      expect(found).toEqual([firstEntry])
    })

    test('what peers() gave is not changed by later announcements', async () => {
      await first.announce(firstEntry)
      const before = await second.peers()
      const copy = structuredClone(before)
      await second.announce(secondEntry)
      await second.peers()
      expect(before).toEqual(copy)
    })

    test('withdrawing is harmless, also twice, also before announcing', async () => {
      await first.withdraw()
      await first.announce(firstEntry)
      await first.withdraw()
      await first.withdraw()
      expect(await second.peers()).toEqual(expect.any(Array))
    })
  })
}

function byEnvironment(entries: readonly RendezvousEntry[]): RendezvousEntry[] {
  return entries.toSorted((a, b) => (a.environment < b.environment ? -1 : 1))
}
