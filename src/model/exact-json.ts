/**
 * Values as JSON from which every language gets back what it put in.
 *
 * What JSON cannot say, or a parser may lose: `{"$bytes": base64}`, `{"$number": "NaN"}`, and `{"$map": {...}}` around a map with a name that begins
 * with `$`. A floating-point number that is whole has a point or an exponent (`1.0`), other whole numbers have neither and up to 64 bits. For
 * languages that cannot write those, `{"$float": "1.0"}` and `{"$integer": "5"}` are read as well.
 */
import { Float } from '../base/codec.ts'
import { ContextStoreError } from '../errors.ts'
import type { Value } from './value.ts'

/** A value as exact JSON. Cost: one walk. */
export function toExactJson(value: Value): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value)
    case 'number':
      return Number.isSafeInteger(value) ? String(value) : floatText(value)
    case 'object':
      return objectText(value)
    default:
      return String(value)
  }
}

function floatText(value: number): string {
  if (!Number.isFinite(value)) return `{"$number":"${value}"}`
  if (Object.is(value, -0)) return '-0.0'
  const text = String(value)
  return Number.isInteger(value) && !text.includes('e') ? `${text}.0` : text
}

function objectText(value: Value & (object | null)): string {
  if (value === null) return 'null'
  if (value instanceof Uint8Array) return `{"$bytes":"${base64(value)}"}`
  if (value instanceof Float) return floatText(value.value)
  if (Array.isArray(value)) return `[${(value as readonly Value[]).map(toExactJson).join()}]`
  const map = value as Readonly<Record<string, Value>>
  const names = Object.keys(map)
  const { $codec: codec, $bytes: bytes } = map
  if (names.length === 2 && typeof codec === 'string' && bytes instanceof Uint8Array)
    return `{"$codec":${JSON.stringify(codec)},"$bytes":"${base64(bytes)}"}`
  const members = names.map((name) => `${JSON.stringify(name)}:${toExactJson(map[name] as Value)}`)
  const text = `{${members.join()}}`
  return names.some((name) => name.startsWith('$')) ? `{"$map":${text}}` : text
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')
}

/**
 * Where `JSON.parse` alone would lose something, or may: looked for in strings, too, because that is quick. Whole numbers of 16 digits below 9e15, as
 * stamps and incarnations are, lose nothing.
 */
const needsCare = /"\$|\d\.0+(?!\d)|\d[eE]|\d{17}|9\d{15}|\d{16}\.|\.\d{16}|NaN|Infinity/

/**
 * Reads exact JSON. Cost: that of `JSON.parse` and a search, about ten times that where there are numbers or forms that it would lose. Throws
 * `VALUE_INVALID`.
 */
export function fromExactJson(text: string): unknown {
  try {
    return needsCare.test(text) ? revive(JSON.parse(text.replaceAll(token, spellOut))) : JSON.parse(text)
  } catch (cause) {
    if (cause instanceof ContextStoreError) throw cause
    throw invalid('it is no JSON', cause)
  }
}

/** A string, a word, or a number. */
const token = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\b(?:NaN|Infinity)\b|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g

function spellOut(found: string): string {
  if (found.startsWith('"')) return found
  const number = Number(found)
  if (!Number.isFinite(number)) return `{"$number":"${number}"}`
  if (/[.eE]/.test(found)) return Number.isInteger(number) ? `{"$float":"${found}"}` : found
  return Number.isSafeInteger(number) ? found : `{"$integer":"${found}"}`
}

function revive(parsed: unknown): unknown {
  if (typeof parsed !== 'object' || parsed === null) return parsed
  if (Array.isArray(parsed)) return parsed.map(revive)
  const names = Object.keys(parsed)
  const map = parsed as Readonly<Record<string, unknown>>
  return names.some((name) => name.startsWith('$')) ? reviveForm(map, names) : reviveMembers(map, names)
}

function reviveMembers(map: Readonly<Record<string, unknown>>, names: readonly string[]): unknown {
  return Object.fromEntries(names.map((name) => [name, revive(map[name])]))
}

function reviveForm(map: Readonly<Record<string, unknown>>, names: readonly string[]): unknown {
  const { $codec: codec, $bytes: bytes } = map
  if (names.length === 2 && typeof codec === 'string' && typeof bytes === 'string')
    return { $codec: codec, $bytes: bytesOf(bytes) }
  const [name = ''] = names
  const form = Object.hasOwn(forms, name) && names.length === 1 ? forms[name] : undefined
  const value = form?.(map[name])
  if (value !== undefined) return value
  throw invalid(
    `${JSON.stringify(map).slice(0, 100)} is no form of a value; a map with such a name is {"$map":{...}}`,
  )
}

/** `undefined` where the form holds something else. */
const forms: Readonly<Record<string, (inner: unknown) => unknown>> = {
  $bytes: (inner) => (typeof inner === 'string' ? bytesOf(inner) : undefined),
  $float: (inner) => (isNumber(inner) ? new Float(Number(inner)) : undefined),
  $number: (inner) => (isNumber(inner) || inner === 'NaN' ? Number(inner) : undefined),
  $integer: (inner) => (typeof inner === 'string' && /^-?\d+$/.test(inner) ? BigInt(inner) : undefined),
  $map: (inner) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? reviveMembers(inner as Readonly<Record<string, unknown>>, Object.keys(inner))
      : undefined,
}

function isNumber(text: unknown): text is string {
  return typeof text === 'string' && text.trim() !== '' && !Number.isNaN(Number(text))
}

function bytesOf(text: string): Uint8Array {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) throw invalid('$bytes is no base64')
  return Uint8Array.from(Buffer.from(text, 'base64'))
}

function invalid(sentence: string, cause?: unknown): ContextStoreError {
  return new ContextStoreError(
    'VALUE_INVALID',
    `Invalid value: ${sentence}.`,
    'docs/AGENT.md says how values are written.',
    { cause },
  )
}
