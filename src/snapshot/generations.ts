/**
 * The generations of an environment in a checkpoint directory: names, and the environment's own manifest.
 *
 * | file | content |
 * |---|---|
 * | `<environment>-<generation>.cairn` | one snapshot; the generation has at least 8 digits |
 * | `<environment>.manifest.json` | which generations are committed, oldest first, and what else is known |
 *
 * Each environment writes its own files only, so nobody waits for anybody. The manifest leads, because a
 * listing may be a minute old; a file that is listed without being in the manifest was finished by a process
 * that died before it wrote the manifest, and is as good, since a snapshot proves itself.
 */
import { join, resolve } from 'node:path'
import { decodeText, encodeText, toHex, xxhash64 } from '../base/bytes.ts'
import { ContextStoreError } from '../errors.ts'
import { readRange, systemErrorCode, type FileSystem } from '../base/file-system.ts'
import { damaged, sha256 } from './format.ts'

/** One committed checkpoint of one environment. */
export interface Generation {
  readonly generation: number
  /** Name within the directory. */
  readonly file: string
  /** SHA-256 of the file, as `sha256sum` shows it. */
  readonly sha256: string
  readonly bytes: number
  /** Empty where there is none. */
  readonly tag: string
  /** Live cells of all its shards. */
  readonly cells: number
  /** Of an increment: the generation that it holds the changes since. */
  readonly base?: number
  /** Milliseconds since 1970. */
  readonly created: number
}

export interface EnvironmentManifest {
  readonly environment: string
  /** Ascending. */
  readonly generations: readonly Generation[]
  /** Newest generations of other environments, as far as this one heard of them. */
  readonly others: ReadonlyMap<string, number>
}

const manifestVersion = 1
const manifestSuffix = '.manifest.json'
const manifestBytesMax = 16 * 1024 * 1024
const placeSeed = 0x706c616365n
const environmentPattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/

/** Throws `OPTION_INVALID` unless `environment` can be part of a file name. */
export function checkEnvironment(environment: string): void {
  if (environmentPattern.test(environment)) return
  const hint = 'Use letters, digits, "_" and "-", a letter or digit first, at most 64.'
  throw new ContextStoreError('OPTION_INVALID', `"${environment}" is no environment id.`, hint)
}

export function snapshotFileName(environment: string, generation: number): string {
  return `${environment}-${String(generation).padStart(8, '0')}.cairn`
}

export function manifestFileName(environment: string): string {
  return environment + manifestSuffix
}

/** By what stores of a job tell whether they write into the same directory: a hash of its path, below 2^53. */
export function checkpointPlace(directory: string): number {
  return Number(BigInt.asUintN(53, xxhash64(encodeText(resolve(directory)), placeSeed)))
}

/** What a file name says, or `undefined` for a file that is none of ours. */
export function parseSnapshotFileName(name: string): { environment: string; generation: number } | undefined {
  const match = /^(.+)-(\d{8,16})\.cairn$/.exec(name)
  if (match === null) return undefined
  const [environment, generation] = [match[1] as string, Number(match[2])]
  const canonical = Number.isSafeInteger(generation) && snapshotFileName(environment, generation) === name
  return canonical && environmentPattern.test(environment) ? { environment, generation } : undefined
}

/** The environment whose manifest bears this name. */
export function parseManifestFileName(name: string): string | undefined {
  if (!name.endsWith(manifestSuffix)) return undefined
  const environment = name.slice(0, -manifestSuffix.length)
  return environmentPattern.test(environment) ? environment : undefined
}

export function encodeEnvironmentManifest(manifest: EnvironmentManifest): Uint8Array {
  const { environment, generations } = manifest
  const others = Object.fromEntries([...manifest.others].sort(([a], [b]) => (a < b ? -1 : 1)))
  const fields = { format: 'cairn-checkpoints', version: manifestVersion, environment, generations, others }
  return encodeText(`${JSON.stringify({ ...fields, check: checkOf(fields) }, undefined, 2)}\n`)
}

/** A flipped digit leaves a manifest well-formed, and would make sound files look like others. */
function checkOf(fields: object): string {
  return toHex(sha256(encodeText(JSON.stringify(fields))))
}

/**
 * Reads an environment's manifest; `undefined` where there is none. Throws `SNAPSHOT_DAMAGED`, also where it
 * cannot be read, and `FORMAT_NEWER`.
 */
export async function readEnvironmentManifest(
  directory: string,
  environment: string,
  fileSystem: FileSystem,
): Promise<EnvironmentManifest | undefined> {
  const path = join(directory, manifestFileName(environment))
  let text: string
  try {
    text = await readSmallFile(path, fileSystem)
  } catch (cause) {
    const code = systemErrorCode(cause)
    if (code === 'ENOENT') return undefined
    throw code === undefined ? cause : damaged(path, `it cannot be read (${code})`, { cause })
  }
  let fields: unknown
  try {
    fields = JSON.parse(text)
  } catch (cause) {
    throw damaged(path, 'it is no JSON', { cause })
  }
  return parseEnvironmentManifest(path, environment, fields)
}

async function readSmallFile(path: string, fileSystem: FileSystem): Promise<string> {
  const file = await fileSystem.open(path, 'r')
  try {
    const { size } = await file.stat()
    if (size > manifestBytesMax) throw damaged(path, `a manifest of ${size} bytes is none of ours`)
    return decodeText(await readRange(file, 0, size))
  } catch (cause) {
    throw cause instanceof TypeError ? damaged(path, 'it is no text', { cause }) : cause
  } finally {
    await file.close()
  }
}

function parseEnvironmentManifest(path: string, environment: string, value: unknown): EnvironmentManifest {
  const fields = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  const { version, generations, others } = fields
  if (fields['format'] !== 'cairn-checkpoints' || !isCount(version)) throw damaged(path, 'it is no manifest')
  // Before the version, which may be what rotted. Absent in the first manifests, which have no other keys: so a name that rotted is not taken for an absent one.
  const { check, ...checked } = fields
  const isWritten = check === undefined ? Object.keys(checked).every(isFirstKey) : check === checkOf(checked)
  if (!isWritten) throw damaged(path, 'it is not what was written')
  if (version > manifestVersion) {
    const hint = 'Read it with the version of cairn-store that wrote it, or a later one.'
    throw new ContextStoreError('FORMAT_NEWER', `Manifest "${path}" has version ${version}.`, hint)
  }
  if (fields['environment'] !== environment) throw damaged(path, 'it belongs to another environment')
  if (!Array.isArray(generations)) throw damaged(path, 'it lists no generations')
  const parsed = generations.map((entry) => parseGeneration(path, environment, entry))
  return { environment, generations: parsed.sort(byGeneration), others: parseOthers(others) }
}

function isFirstKey(key: string): boolean {
  return ['format', 'version', 'environment', 'generations', 'others'].includes(key)
}

function parseGeneration(path: string, environment: string, value: unknown): Generation {
  const fields = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  const { generation, file, sha256: hash, bytes, tag, cells, created, base } = fields
  const isBased = base === undefined || (isCount(base) && base < Number(generation))
  const whole = [generation, bytes, cells, created].every(isCount) && isBased
  const texts = typeof hash === 'string' && /^[0-9a-f]{64}$/.test(hash) && typeof tag === 'string'
  // The name is computed, not believed: it leads nowhere else.
  if (!whole || !texts || file !== snapshotFileName(environment, generation as number)) {
    throw damaged(path, 'it lists an impossible generation')
  }
  const parsed = { generation, file, sha256: hash, bytes, tag, cells, created } as Generation
  return base === undefined ? parsed : { ...parsed, base }
}

/** Only hints: what is no hint is left out. */
function parseOthers(value: unknown): Map<string, number> {
  const others = new Map<string, number>()
  if (typeof value !== 'object' || value === null) return others
  for (const [environment, generation] of Object.entries(value)) {
    if (environmentPattern.test(environment) && isCount(generation)) others.set(environment, generation)
  }
  return others
}

export function byGeneration(a: { readonly generation: number }, b: { readonly generation: number }): number {
  return a.generation - b.generation
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
