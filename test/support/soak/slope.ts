/** How memory grows. */

/** Memory after so many of what is counted. */
export interface Sample {
  readonly at: number
  readonly heapBytes: number
  /** Resident, without mapped files. */
  readonly anonymousBytes: number
}

/** Growth a count, by least squares, of the later half of the samples: before, pools and caches fill up. */
export function slopeOf(samples: readonly Sample[], what: 'heapBytes' | 'anonymousBytes'): number {
  const later = samples.slice(Math.floor(samples.length / 2))
  const mean = (of: (sample: Sample) => number): number =>
    later.reduce((sum, sample) => sum + of(sample), 0) / later.length
  const [meanAt, meanBytes] = [mean(({ at }) => at), mean((sample) => sample[what])]
  let [together, alone] = [0, 0]
  for (const sample of later) {
    together += (sample.at - meanAt) * (sample[what] - meanBytes)
    alone += (sample.at - meanAt) ** 2
  }
  return alone === 0 ? 0 : together / alone
}
