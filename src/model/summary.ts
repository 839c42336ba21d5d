/**
 * Summaries: what many observations of a real number come to, in a few hundred bytes that merge.
 *
 * - count, minimum and maximum are exact.
 * - The sum is compensated (Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher
 *   Summen", 1974): what rounding loses is kept in a second number, the compensation, which merges like the
 *   first.
 * - Mean and variance are Welford's ("Note on a method for calculating corrected sums of squares and
 *   products", 1962), merged as by Chan, Golub and LeVeque ("Updating formulae and a pairwise algorithm for
 *   computing sample variances", 1979).
 * - Quantiles are a DDSketch (Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
 *   relative-error guarantees", VLDB 2019). With a = 0.01 and gamma = (1 + a) / (1 - a), bucket i counts the
 *   observations whose magnitude lies in (gamma^(i-1), gamma^i]. Its answer (1 + a) gamma^(i-1) is within 1 %
 *   of each of them:
 *
 *   ```
 *     gamma^(i-1)            (1 + a) gamma^(i-1)       gamma^i = (1 + a) gamma^(i-1) / (1 - a)
 *     (------------------------------|-----------------------------------]
 *              a gamma^(i-1)                     a gamma^i
 *   ```
 *
 *   Positive and negative observations have a store of buckets each, zeros a count. A store keeps its 4,096
 *   buckets farthest from zero; what is nearer is counted in the nearest of them. 4,096 neighbouring buckets
 *   span a factor of 3e35, so only data wider than that loses precision, and only in the quantiles nearest to
 *   zero. Which buckets are left depends on the observations alone, not on their order or grouping.
 *
 * Merging is commutative to the bit. It is associative to the bit in count, minimum, maximum and buckets,
 * hence in every quantile, but only up to rounding in sum, mean and variance. Whoever folds the summaries of
 * several writers therefore merges them in one fixed order, that of their dots, one after the other: then
 * replicas that hold the same cells agree to the bit.
 *
 * The packed form is an array in this order, which never changes:
 *
 * | field | is |
 * |---|---|
 * | count | observations, a safe integer |
 * | sum, compensation | two floats, whose sum is the sum |
 * | min, max, mean | floats, min <= mean <= max; null when the count is 0 |
 * | m2 | float: the sum of the squares of the differences from the mean |
 * | zeroCount | observations of 0 |
 * | positive, negative | flat arrays of buckets, indices i ascending: i - (i before, or 0), count, ... |
 */

/** What a summary says. Of no observations count and sum are 0 and the rest is `undefined`. */
export interface SummaryReport {
  readonly count: number
  readonly sum: number
  readonly mean: number | undefined
  /** Of the population: the root of the mean square difference from the mean. */
  readonly stddev: number | undefined
  readonly min: number | undefined
  readonly max: number | undefined
  /** The median. */
  readonly p50: number | undefined
  readonly p90: number | undefined
  readonly p99: number | undefined
}

/** Quantiles are within this share of the true ones. */
export const quantileErrorMax = 0.01
/** Most buckets of each of the two stores. */
export const summaryBucketsMax = 4096
/**
 * Largest magnitude of an observation, about 3e144. Squares of differences are then at most 2^962, and 2^53
 * of them add up to less than 2^1024: no field ever becomes infinite.
 */
export const observationMax = 2 ** 480

const logGamma = Math.log((1 + quantileErrorMax) / (1 - quantileErrorMax))
const bucketIndexMin = bucketIndexOf(Number.MIN_VALUE)
const bucketIndexMax = bucketIndexOf(observationMax)

interface SummaryState {
  count: number
  sum: number
  compensation: number
  /** Infinity while there is none. */
  min: number
  /** -Infinity while there is none. */
  max: number
  mean: number
  m2: number
  zeroCount: number
  readonly positive: Buckets
  readonly negative: Buckets
}

/** A summary that grows with each observation. Merging makes a new one. */
export class Summary {
  readonly #state: SummaryState

  /** Of no observations; with a state, which becomes the summary's own, of those. */
  constructor(state: SummaryState = emptyState()) {
    this.#state = state
  }

  /** Of these observations. Throws `RangeError` as `observe` does. */
  static of(values: Iterable<number>): Summary {
    const summary = new Summary()
    for (const value of values) summary.observe(value)
    return summary
  }

  /**
   * Takes one observation in. Throws `RangeError` for NaN and for magnitudes above `observationMax`,
   * infinities included. About 0.1 us, and 0.2 ms where a bucket must be given up for a new one.
   */
  observe(x: number): void {
    if (!isObservation(x))
      throw new RangeError(`no observation: ${String(x)}; magnitudes go to ${observationMax}`)
    const state = this.#state
    const value = x + 0 // Minus zero becomes zero: packed numbers cannot tell them apart.
    state.count++
    addCompensated(state, value)
    state.min = Math.min(state.min, value)
    state.max = Math.max(state.max, value)
    const difference = value - state.mean
    state.mean += difference / state.count
    state.m2 += difference * (value - state.mean)
    if (value > 0) state.positive.add(bucketIndexOf(value), 1)
    else if (value < 0) state.negative.add(bucketIndexOf(-value), 1)
    else state.zeroCount++
  }

  /** The summary of the observations of both, which are left as they are. Costs 0.1 us a bucket. */
  merge(other: Summary): Summary {
    if (other.count === 0) return this.clone()
    if (this.count === 0) return other.clone()
    const a = this.#state
    const b = other.#state
    const count = a.count + b.count
    if (!Number.isSafeInteger(count)) throw new RangeError('together they count more than 2^53 - 1')
    const sums = { sum: a.sum, compensation: a.compensation + b.compensation }
    addCompensated(sums, b.sum)
    const min = Math.min(a.min, b.min)
    const max = Math.max(a.max, b.max)
    // From the mean of the more the step is shorter; from the same one either way, merging is commutative.
    const [more, fewer] = a.count > b.count || (a.count === b.count && a.mean <= b.mean) ? [a, b] : [b, a]
    const difference = fewer.mean - more.mean
    const share = fewer.count / count
    return new Summary({
      count,
      ...sums,
      min,
      max,
      mean: more.mean + difference * share,
      m2: a.m2 + b.m2 + difference * difference * (more.count * share),
      zeroCount: a.zeroCount + b.zeroCount,
      positive: a.positive.merge(b.positive),
      negative: a.negative.merge(b.negative),
    })
  }

  /** Another that says the same, and grows by itself. Costs a copy of the buckets. */
  clone(): Summary {
    const { positive, negative } = this.#state
    return new Summary({ ...this.#state, positive: positive.clone(), negative: negative.clone() })
  }

  /** How many were observed. Exact. */
  get count(): number {
    return this.#state.count
  }

  /** 0 of no observations. */
  get sum(): number {
    return this.#state.sum + this.#state.compensation
  }

  /** The least observation, exactly; `undefined` of none. */
  get min(): number | undefined {
    return this.#unlessEmpty(this.#state.min)
  }

  /** The greatest observation, exactly; `undefined` of none. */
  get max(): number | undefined {
    return this.#unlessEmpty(this.#state.max)
  }

  /** The mean, up to rounding, in the unit of the observations; `undefined` of none. */
  get mean(): number | undefined {
    return this.#unlessEmpty(this.#state.mean)
  }

  /** Of the population: the mean square difference from the mean. */
  get variance(): number | undefined {
    return this.#unlessEmpty(this.#state.m2 / this.#state.count)
  }

  /** The root of the variance, in the unit of the observations. */
  get stddev(): number | undefined {
    return this.#unlessEmpty(Math.sqrt(this.#state.m2 / this.#state.count))
  }

  /**
   * The observation at place floor(q (count - 1)) of all in ascending order, from place 0: 0 asks for the
   * minimum, 0.5 for the median, 1 for the maximum. Exact at both ends, else within 1 % of that observation,
   * with two exceptions: if it is in a bucket that was given up, the answer is that of the kept bucket
   * nearest to zero; below 2.3e-308, where floats are sparse, one unit in the last place is added to the 1 %.
   * Of no observations `undefined`. Throws `RangeError` unless 0 <= q <= 1. Costs a sort of the buckets, 5 to
   * 200 us.
   */
  quantile(q: number): number | undefined {
    if (!(q >= 0 && q <= 1)) throw new RangeError(`a quantile goes from 0 to 1, this is ${String(q)}`)
    const { count, min, max, zeroCount, positive, negative } = this.#state
    if (count === 0) return undefined
    const place = Math.floor(q * (count - 1))
    if (place === 0) return min
    if (place === count - 1) return max
    const zeroPlace = negative.total
    const positivePlace = zeroPlace + zeroCount
    if (place >= positivePlace) return between(min, positive.magnitudeAt(place - positivePlace), max)
    if (place >= zeroPlace) return 0
    // The least is the one of greatest magnitude.
    return between(min, -negative.magnitudeAt(zeroPlace - 1 - place), max)
  }

  /** All of it as plain fields. Costs three quantiles, 15 to 600 us. */
  report(): SummaryReport {
    return {
      count: this.count,
      sum: this.sum,
      mean: this.mean,
      stddev: this.stddev,
      min: this.min,
      max: this.max,
      p50: this.quantile(0.5),
      p90: this.quantile(0.9),
      p99: this.quantile(0.99),
    }
  }

  /** Plain fields to be packed, in the order that the module states. At most 100 KB, usually below 1 KB. */
  encode(): unknown[] {
    const { count, sum, compensation, m2, zeroCount, positive, negative } = this.#state
    const bounds = [this.min ?? null, this.max ?? null, this.mean ?? null]
    return [count, sum, compensation, ...bounds, m2, zeroCount, positive.encode(), negative.encode()]
  }

  #unlessEmpty(value: number): number | undefined {
    return this.#state.count === 0 ? undefined : value
  }
}

/** Turns fields back into the summary. Throws `RangeError` for fields that no observations give. */
export function decodeSummary(fields: unknown): Summary {
  check(Array.isArray(fields) && fields.length === 10, 'it is no array of ten fields')
  const [count, sum, compensation, min, max, mean, m2, zeroCount, positive, negative] = fields as unknown[]
  check(isCount(count) && isCount(zeroCount), 'its counts are no counts')
  const sumMax = count * observationMax
  check(isNumber(sum, sumMax) && isNumber(compensation, sumMax), 'its sum is none')
  check(isNumber(m2) && m2 >= 0, 'its sum of squares is none')
  const stores = { positive: decodeBuckets(positive), negative: decodeBuckets(negative) }
  const state = { ...emptyState(), ...stores, count, sum, compensation, m2, zeroCount }
  check(state.positive.total + state.negative.total + zeroCount === count, 'its counts do not add up')
  if (count === 0) {
    check(min === null && max === null && mean === null && m2 === 0, 'no observations have a mean')
    return new Summary(state)
  }
  check(isObservation(min) && isObservation(max) && isObservation(mean), 'its bounds or mean are none')
  check(min <= mean && mean <= max, 'its mean is out of bounds')
  // The true limit is a quarter of this (Popoviciu's inequality).
  check(m2 <= count * (max - min) ** 2, 'its observations vary more than its bounds')
  check(state.positive.total > 0 === max > 0 && state.negative.total > 0 === min < 0, 'its signs contradict')
  check(zeroCount === 0 || (min <= 0 && max >= 0), 'its zeros are out of bounds')
  return new Summary({ ...state, min, max, mean })
}

/** Counts of observations of one sign, by bucket. */
class Buckets {
  readonly #counts: Map<number, number>
  /** The lowest bucket that is kept, once others were given up. */
  #floor: number

  constructor(counts = new Map<number, number>(), floor = -Infinity) {
    this.#counts = counts
    this.#floor = floor
  }

  get total(): number {
    let total = 0
    for (const count of this.#counts.values()) total += count
    return total
  }

  add(index: number, count: number): void {
    this.#put(index, count)
    if (this.#counts.size > summaryBucketsMax) this.#collapse()
  }

  merge(other: Buckets): Buckets {
    const merged = this.clone()
    for (const [index, count] of other.#counts) merged.#put(index, count)
    if (merged.#counts.size > summaryBucketsMax) merged.#collapse()
    return merged
  }

  clone(): Buckets {
    return new Buckets(new Map(this.#counts), this.#floor)
  }

  /** About the magnitude at this place, counted from 0 at the smallest. */
  magnitudeAt(place: number): number {
    let before = 0
    let answer = 0
    for (const index of this.#ascending()) {
      answer = (1 + quantileErrorMax) * Math.exp((index - 1) * logGamma)
      before += this.#counts.get(index) as number
      if (before > place) break
    }
    return answer
  }

  encode(): number[] {
    const fields: number[] = []
    let before = 0
    for (const index of this.#ascending()) {
      fields.push(index - before, this.#counts.get(index) as number)
      before = index
    }
    return fields
  }

  #put(index: number, count: number): void {
    const bucket = Math.max(index, this.#floor)
    this.#counts.set(bucket, (this.#counts.get(bucket) ?? 0) + count)
  }

  /**
   * Gives up the buckets nearest to zero. Kept are the farthest of all indices ever added, and the lowest of
   * these has the observations of all below it: so it does not matter when this runs.
   */
  #collapse(): void {
    const ascending = this.#ascending()
    const lost = ascending.subarray(0, ascending.length - summaryBucketsMax)
    this.#floor = ascending[lost.length] as number
    for (const index of lost) {
      const count = this.#counts.get(index) as number
      this.#counts.delete(index)
      this.#put(index, count)
    }
  }

  #ascending(): Int32Array {
    return Int32Array.from(this.#counts.keys()).sort()
  }
}

function decodeBuckets(fields: unknown): Buckets {
  check(Array.isArray(fields), 'its buckets are no array')
  check(fields.length <= 2 * summaryBucketsMax, 'it has too many buckets')
  const counts = new Map<number, number>()
  let index = 0
  for (let i = 0; i < fields.length; i += 2) {
    const [step, count] = fields.slice(i, i + 2) as unknown[]
    check(Number.isSafeInteger(step) && (i === 0 || (step as number) > 0), 'its buckets do not ascend')
    index += step as number
    check(index >= bucketIndexMin && index <= bucketIndexMax, 'a bucket is out of range')
    check(isCount(count) && count > 0, 'a bucket counts nothing')
    counts.set(index, count)
  }
  return new Buckets(counts)
}

function emptyState(): SummaryState {
  const sums = { sum: 0, compensation: 0, mean: 0, m2: 0 }
  return {
    count: 0,
    ...sums,
    min: Infinity,
    max: -Infinity,
    zeroCount: 0,
    positive: new Buckets(),
    negative: new Buckets(),
  }
}

/** Adds `x` to the sum and what rounding loses of it, exactly, to the compensation. */
function addCompensated(sums: { sum: number; compensation: number }, x: number): void {
  const { sum } = sums
  const rounded = sum + x
  sums.compensation += Math.abs(sum) >= Math.abs(x) ? sum - rounded + x : x - rounded + sum
  sums.sum = rounded
}

/** The bucket of a magnitude above 0: i with gamma^(i-1) < magnitude <= gamma^i, up to rounding. */
function bucketIndexOf(magnitude: number): number {
  return Math.ceil(Math.log(magnitude) / logGamma)
}

/** The middle of a bucket may be past the bounds; the observations in it are not. */
function between(min: number, value: number, max: number): number {
  return Math.min(max, Math.max(min, value))
}

function isObservation(value: unknown): value is number {
  return isNumber(value, observationMax)
}

function isNumber(value: unknown, magnitudeMax = Number.MAX_VALUE): value is number {
  return typeof value === 'number' && Math.abs(value) <= magnitudeMax
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new RangeError(`these fields are no summary: ${what}`)
}
