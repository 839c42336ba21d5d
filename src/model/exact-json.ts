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

/** What a number or a word begins with; within strings this is found, too, because that is quick. */
const start = String.raw`(?:^|[[,:\s])-?`
/**
 * Numbers that `JSON.parse` alone would lose, or may. Whole numbers of 16 digits below 9e15, as stamps and incarnations are, lose nothing. What has a fraction and is rounded to a whole
 * number has as many zeros or nines behind the point as are lacking in front of it.
 */
const lossy = String.raw`${start}(?:NaN|Infinity|\d{17}|9\d{15}|\d{14,}\.|\d+(?:\.\d+)?[eE]|\d+\.(?:0{7}|9{7})|\d{9,}\.(?:00|99))`
const wholeFloat = String.raw`${start}\d+\.0+(?!\d)`
const mayLose = new RegExp(lossy)
const hasWholeFloats = new RegExp(wholeFloat)
const needsCare = new RegExp(String.raw`"\$|${wholeFloat}|${lossy}`)
/** Whole floating-point numbers as programs write them, and what is put in their place. */
const plainWholeFloat = /([[,:] ?)(-?\d+)\.0+(?=[\],}])/g
const floatForm = '$1{"$float":"$2"}'

/**
 * Reads exact JSON. Cost: that of `JSON.parse` and a search; two to three times that where floating-point numbers are whole, or there are forms; about ten times that where there are
 * numbers that it would lose otherwise, such as `1e5` and whole ones of 17 digits. Throws `VALUE_INVALID`.
 */
export function fromExactJson(text: string): unknown {
  try {
    return needsCare.test(text) ? revive(parseWithCare(text)) : JSON.parse(text)
  } catch (cause) {
    if (cause instanceof ContextStoreError) throw cause
    throw invalid('it is no JSON', cause)
  }
}

/** Numbers that would be lost come as forms. */
function parseWithCare(text: string): unknown {
  if (!mayLose.test(text)) {
    const spelt = text.replace(plainWholeFloat, floatForm)
    try {
      if (!hasWholeFloats.test(spelt)) return JSON.parse(spelt)
    } catch {
      // It is no JSON, or such a number was part of a string, which what was put there has ended.
    }
  }
  return JSON.parse(text.replaceAll(token, spellOut))
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

/** Puts what forms stand for in their place. */
function revive(parsed: unknown): unknown {
  if (typeof parsed !== 'object' || parsed === null) return parsed
  if (Array.isArray(parsed)) return reviveElements(parsed)
  const names = Object.keys(parsed)
  const map = parsed as Record<string, unknown>
  return names.some((name) => name.startsWith('$')) ? reviveForm(map, names) : reviveMembers(map, names)
}

function reviveElements(list: unknown[]): unknown[] {
  for (let i = 0; i < list.length; i++) {
    const element = list[i]
    if (typeof element === 'object' && element !== null) list[i] = revive(element)
  }
  return list
}

function reviveMembers(map: Record<string, unknown>, names: readonly string[]): unknown {
  for (const name of names) {
    const member = map[name]
    if (typeof member === 'object' && member !== null) map[name] = revive(member)
  }
  return map
}

function reviveForm(map: Record<string, unknown>, names: readonly string[]): unknown {
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
      ? reviveMembers(inner as Record<string, unknown>, Object.keys(inner))
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
