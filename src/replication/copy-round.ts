/**
 * A copy round: waits until so many peers have told that some clocks are durable with them. Pure.
 *
 * Who confirms a later round confirms all before it: clocks only grow. Peers are told apart by environment; one that goes away after it confirmed still counts,
 * since what it has told to be durable is so without a link.
 */
import type { ShardClocks } from './confirmations.ts'

export class CopyRound {
  readonly id: number
  readonly shards: readonly ShardClocks[]
  /** The environments that confirmed: as many as were wanted, or fewer when the time was over. */
  readonly result: Promise<readonly string[]>
  readonly #copies: number
  readonly #holders = new Set<string>()
  #resolve: (holders: readonly string[]) => void = () => {}

  constructor(id: number, copies: number, shards: readonly ShardClocks[]) {
    this.id = id
    this.#copies = copies
    this.shards = shards
    this.result = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  confirmed(environment: string): void {
    this.#holders.add(environment)
    if (this.#holders.size >= this.#copies) this.end()
  }

  end(): void {
    this.#resolve([...this.#holders])
  }
}
