/** What is in a request: members of the right type, or `OPTION_INVALID`. */
import { ContextStoreError } from '../errors.ts'
import type { Key } from '../index.ts'

/** A line, read. */
export type Request = Readonly<Record<string, unknown>>

export function isRequest(parsed: unknown): parsed is Request {
  return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)
}

export function textIn(request: Request, name: string): string {
  return optionalTextIn(request, name) ?? refuse(request, name, 'a text')
}

export function optionalTextIn(request: Request, name: string): string | undefined {
  const value = request[name]
  if (value === undefined || value === null) return undefined
  return typeof value === 'string' ? value : refuse(request, name, 'a text')
}

export function numberIn(request: Request, name: string): number {
  return optionalNumberIn(request, name) ?? refuse(request, name, 'a whole number')
}

/** From 0. */
export function optionalNumberIn(request: Request, name: string): number | undefined {
  const value = request[name]
  if (value === undefined || value === null) return undefined
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number
  return refuse(request, name, 'a whole number from 0')
}

export function listIn(request: Request, name: string): readonly unknown[] {
  const value = request[name]
  return Array.isArray(value) ? value : refuse(request, name, 'a list')
}

export function textsIn(request: Request, name: string): readonly string[] {
  const list = listIn(request, name)
  if (list.every((each) => typeof each === 'string')) return list
  return refuse(request, name, 'a list of texts')
}

/** What is in a key, the store checks. */
export function keyIn(request: Request, name: string): Key {
  return asKey(request[name])
}

/** Without it, the beginning of all keys. */
export function prefixIn(request: Request, name: string): Key {
  const value = request[name]
  return value === undefined || value === null ? [] : asKey(value)
}

export function asKey(value: unknown): Key {
  if (Array.isArray(value)) return value as Key
  throw new ContextStoreError(
    'KEY_INVALID',
    `Invalid key: ${show(value)} is no list.`,
    'A key is a list of texts, whole numbers and booleans.',
  )
}

export function misused(sentence: string): ContextStoreError {
  return new ContextStoreError('OPTION_INVALID', sentence, 'docs/AGENT.md lists requests and operations.')
}

/** A part of something that may be long, or no JSON at all. */
export function show(value: unknown): string {
  const text = typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? 'nothing')
  return text.length > 100 ? `${text.slice(0, 97)}...` : text
}

function refuse(request: Request, name: string, wanted: string): never {
  throw misused(`"${name}" is ${wanted}, this is ${show(request[name])}.`)
}
