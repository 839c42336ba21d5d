/**
 * Keys on a command line.
 *
 * Two forms, told apart by their first character:
 *
 * - JSON: `["partition",7,"column","temp"]`
 * - short: `partition/7/column/temp`. What looks like a whole number is one, `true` and `false` are booleans, everything
 *   else is a string. Between quotation marks it is a string whatever it looks like: `"7"`. `%2F` is a slash,
 *   `%25` a percent sign, and so on for every byte of UTF-8.
 *
 * `formatKey` writes the short form that `parseKey` reads back as the same key.
 */
import { ContextStoreError } from '../errors.ts'
import type { Key, KeyElement } from '../index.ts'

/** Written as the number is: `007` and `+7` are strings. */
const integerPattern = /^(0|-?[1-9][0-9]*)$/

/** Reads a key. Throws `KEY_INVALID`. */
export function parseKey(text: string): Key {
  const key = text.startsWith('[') ? parseJson(text) : text.split('/').map(parseElement)
  if (key.length === 0) throw invalid(text, 'a key needs at least one element')
  return key
}

/** Reads the beginning of keys; nothing is the beginning of all, and a slash at the end changes nothing. Throws `KEY_INVALID`. */
export function parsePrefix(text: string): Key {
  if (text.startsWith('[')) return parseJson(text)
  const trimmed = text.endsWith('/') ? text.slice(0, -1) : text
  return trimmed === '' ? [] : parseKey(trimmed)
}

/** Writes the short form, fit for a terminal: no control character, no line break. */
export function formatKey(key: Key): string {
  return key.map(formatElement).join('/')
}

/** The order in which keys are listed: element by element, texts (by their UTF-8) before numbers before `false` before `true`; a beginning first. */
export function compareKeys(a: Key, b: Key): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const order = compareElements(a[i] as KeyElement, b[i] as KeyElement)
    if (order !== 0) return order
  }
  return a.length - b.length
}

function compareElements(a: KeyElement, b: KeyElement): number {
  if (typeof a === 'string' && typeof b === 'string')
    return a === b ? 0 : Buffer.from(a).compare(Buffer.from(b))
  return rankOf(a) - rankOf(b) || Number(a) - Number(b)
}

function rankOf(element: KeyElement): number {
  return ['string', 'number', 'boolean'].indexOf(typeof element)
}

function parseJson(text: string): KeyElement[] {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    throw invalid(text, 'it begins as JSON and is none')
  }
  const key = parsed as unknown[]
  if (key.every(isElement)) return key
  throw invalid(text, 'a key holds strings, whole numbers below 2^53 and booleans')
}

function isElement(value: unknown): value is KeyElement {
  return typeof value === 'string' || typeof value === 'boolean' || Number.isSafeInteger(value)
}

function parseElement(element: string, _index: number, elements: readonly string[]): KeyElement {
  const text = elements.join('/')
  if (element === '') throw invalid(text, 'an element is empty')
  if (element.startsWith('"')) {
    const inner = /^"([^"]*)"$/.exec(element)?.[1]
    if (inner === undefined) throw invalid(text, 'a quotation mark is not closed at the end of its element')
    return unescape(inner, text)
  }
  if (element === 'true' || element === 'false') return element === 'true'
  if (!integerPattern.test(element)) return unescape(element, text)
  const number = Number(element)
  if (!Number.isSafeInteger(number)) throw invalid(text, `${element} is no number below 2^53`)
  return number
}

function unescape(element: string, text: string): string {
  try {
    return decodeURIComponent(element)
  } catch {
    throw invalid(text, `"${element}" holds a percent sign that escapes nothing`)
  }
}

function formatElement(element: KeyElement, index: number): string {
  if (typeof element !== 'string') return String(element)
  const looksOtherwise = element === '' || /^(true|false)$/.test(element) || integerPattern.test(element)
  if (looksOtherwise) return `"${element}"`
  // Characters that structure the short form, cannot be seen, or move the cursor; a dash in front would be an option.
  const escaped = element.replaceAll(/[%/\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, encodeURIComponent)
  const special = index === 0 ? /^["[-]/ : /^"/
  return escaped.replace(special, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}

function invalid(text: string, reason: string): ContextStoreError {
  return new ContextStoreError(
    'KEY_INVALID',
    `Invalid key ${JSON.stringify(text)}: ${reason}.`,
    'Write partition/7/column/temp or \'["partition",7,"column","temp"]\'; in the short form "7" is a string, "" the empty one, %2F a slash, %25 a percent sign.',
  )
}
