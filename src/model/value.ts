/**
 * Values: JSON-like data, plus `Uint8Array`, 64-bit integers as `bigint`, and `Float` for other languages.
 *
 * What is stored comes back equal: numbers as numbers (NaN and infinities too; -0 comes back as 0), `5n` as `5n`. What would
 * come back as something else (Date, Map, class instances, functions, symbols, `undefined`) is refused instead. Hidden properties, and those
 * named by symbols, are left out, as in JSON.
 */
import { Float } from '../base/codec.ts'
import { ContextStoreError } from '../errors.ts'

/** What a key may hold. A `Float` reads as the number that it is. */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Float
  | readonly Value[]
  | { readonly [name: string]: Value }

/** Largest value, in packed bytes. Context is metadata: put bulk data into files and their checksums here. */
export const valueBytesMax = 1024 * 1024
/** Deepest nesting of a value. */
export const valueDepthMax = 64

/** Throws `VALUE_INVALID` unless `value` may be stored. Cost: one walk. */
export function checkValue(value: unknown): asserts value is Value {
  walk(value, 0)
}

function walk(value: unknown, depth: number): void {
  switch (typeof value) {
    case 'boolean':
    case 'number':
      return
    case 'string':
      if (!value.isWellFormed()) throw invalid('a string has half a surrogate pair')
      return
    case 'bigint':
      if (BigInt.asIntN(64, value) !== value && BigInt.asUintN(64, value) !== value) {
        throw invalid(`${value} has more than 64 bits`)
      }
      return
    case 'object':
      if (value !== null) walkObject(value, depth)
      return
    default:
      throw invalid(`it holds a value of type ${typeof value}`)
  }
}

function walkObject(value: object, depth: number): void {
  if (value instanceof Uint8Array) return
  if (value instanceof Float) return checkFloat(value)
  if (depth === valueDepthMax) throw invalid(`it is nested deeper than ${valueDepthMax}, or holds itself`)
  const prototype: unknown = Object.getPrototypeOf(value)
  if (Array.isArray(value)) {
    if (prototype !== Array.prototype) throw invalid(`it holds ${describeInstance(value)}`)
    for (const element of value as readonly unknown[]) walk(element, depth + 1)
    return
  }
  if (prototype !== Object.prototype && prototype !== null) {
    throw invalid(`it holds ${describeInstance(value)}`)
  }
  const names = Object.keys(value)
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as string
    if (!knownNames.has(name)) checkName(name)
    walk((value as Record<string, unknown>)[name], depth + 1)
  }
}

function checkFloat({ value }: Float): void {
  if (typeof value !== 'number') throw invalid('a Float holds no number')
}

/** Names that were found good: the same few come again and again. */
const knownNames = new Set<string>()
const knownNamesMax = 1_000

function checkName(name: string): void {
  // msgpackr would rename the one and call the other.
  if (name === '__proto__' || name === 'toJSON') throw invalid(`it has a property ${name}`)
  if (!name.isWellFormed()) throw invalid('a property name has half a surrogate pair')
  if (name.length < 64 && knownNames.size < knownNamesMax) knownNames.add(name)
}

function describeInstance(value: object): string {
  const { constructor } = value as { constructor?: unknown }
  return typeof constructor === 'function'
    ? `an instance of ${constructor.name}`
    : 'an heir of another object'
}

function invalid(sentence: string): ContextStoreError {
  return new ContextStoreError(
    'VALUE_INVALID',
    `Invalid value: ${sentence}.`,
    'Store JSON-like data, Uint8Array or 64-bit bigint; dates as text or milliseconds.',
  )
}

/** A value as JSON can say it; what JSON has no form for is `{"$bytes": base64}`, `{"$integer": "5"}` (bigint) or `{"$number": "NaN"}`. Property names are sorted. */
export function toJson(value: Value): unknown {
  if (typeof value === 'bigint') return { $integer: String(value) }
  if (typeof value === 'number') return Number.isFinite(value) ? value : { $number: String(value) }
  if (value instanceof Float) return toJson(value.value)
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('base64') }
  if (Array.isArray(value)) return (value as readonly Value[]).map(toJson)
  if (typeof value !== 'object' || value === null) return value
  const sorted = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(sorted.map(([name, element]) => [name, toJson(element)]))
}

/** A value as compact JSON; see `toJson`. */
export function jsonText(value: Value): string {
  return JSON.stringify(toJson(value))
}
