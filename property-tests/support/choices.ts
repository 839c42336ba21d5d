/** Random choices of a history, all from one seed. */
import { seededRandom, type Random } from '../../src/base/random.ts'

export class Choices {
  readonly random: Random

  constructor(seed: number) {
    this.random = seededRandom(seed)
  }

  /** A whole number from 0 to `end - 1`. */
  below(end: number): number {
    return Math.floor(this.random.fraction() * end)
  }

  /** A whole number from `first` to `last`. */
  between(first: number, last: number): number {
    return first + this.below(last - first + 1)
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.random.fraction() < probability
  }

  /** One of a list, which is not empty. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }

  /** Up to `most` of a list, each once. */
  some<T>(list: readonly T[], most: number): T[] {
    const rest = [...list]
    const chosen: T[] = []
    for (let count = Math.min(this.between(0, most), rest.length); count > 0; count--) {
      chosen.push(...rest.splice(this.below(rest.length), 1))
    }
    return chosen
  }

  shuffle<T>(list: readonly T[]): T[] {
    const rest = [...list]
    const shuffled: T[] = []
    while (rest.length > 0) shuffled.push(...rest.splice(this.below(rest.length), 1))
    return shuffled
  }

  /** One of the names, each as often as its weight says. */
  weighted<T extends string>(weights: Readonly<Record<T, number>>): T {
    const entries = Object.entries<number>(weights) as [T, number][]
    const total = entries.reduce((sum, [, weight]) => sum + weight, 0)
    let place = this.random.fraction() * total
    for (const [name, weight] of entries) {
      place -= weight
      if (place < 0) return name
    }
    return (entries.at(-1) as [T, number])[0]
  }
}
