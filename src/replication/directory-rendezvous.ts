/**
 * A directory on a shared file system as rendezvous: `<directory>/<job>-<restart>/<environment>-<digest>-<beat>.json`, one file a store.
 *
 * | field | meaning |
 * |---|---|
 * | version | 1 |
 * | environment, job, restart | whose it is; a file that does not fit its place is foreign and left out |
 * | addresses | where to dial, up to 16 |
 *
 * The name says what changes: the digest (xxHash64, 16 hexadecimal digits) that of the content, the beat (decimal) counts up with each announcement. So an announcement of the same
 * addresses is one rename, and a look at a thousand stores one listing: a file is read once, as long as its digest stays, and a bounded number
 * of them at each look. Which come first is random, so that a thousand stores do not read the same ones.
 *
 * A file appears whole: written under a unique name, synced, closed, renamed. Nothing is locked and nothing but the own files is ever removed.
 * Readers do not compare clocks: an entry is alive while its name keeps changing, seen on the reader's own monotonic clock; one that is seen for the first
 * time counts as alive. Shared file systems show directories late and files half: what cannot be read now is read at the next look.
 */
import { join } from 'node:path'
import { decodeText, encodeText, toHex, xxhash64 } from '../base/bytes.ts'
import {
  type FileSystem,
  nodeFileSystem,
  readRange,
  removeQuietly,
  systemErrorCode,
  writeDurably,
  writeRange,
} from '../base/file-system.ts'
import type { Random } from '../base/random.ts'
import type { Time } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import { type Rendezvous, type RendezvousEntry, announceIntervalMs } from './rendezvous.ts'

/** How long an entry that does not change counts as alive, milliseconds: two announcements more than a listing on NFS may be late. */
export const leaseMs = 60_000 + 2 * announceIntervalMs
/** Most files that are read at one look, while few stores are known and once there are enough to gossip with. */
const readsMax = { few: 64, many: 8, manyFrom: 128 } as const
/** Longest file that is read, bytes. */
const fileBytesMax = 16_384
const addressesMax = 16
const addressLengthMax = 512
const formatVersion = 1
const namePattern = /^([0-9a-f]{8,64})-([0-9a-f]{16})-(\d{1,15})\.json$/
const jobPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

export interface DirectoryRendezvousOptions {
  /** On a file system that all stores of the job share. */
  readonly directory: string
  /** The job: letters, digits, `.`, `_`, `-`. */
  readonly job: string
  /** How often the scheduler has restarted the job. */
  readonly restart: number
  readonly time: Time
  readonly random: Random
  /** @default the computer's own */
  readonly fileSystem?: FileSystem
}

/** What the name of an announcement says. */
interface AnnouncementName {
  readonly name: string
  readonly environment: string
  readonly digest: string
  readonly beat: number
}

/** What was last seen of a store. */
interface Sighting {
  /** Names of its files. More than one while it is renamed, or since it died at that. */
  readonly names: readonly AnnouncementName[]
  readonly changedMs: number
  /** What was read last, under which digest. */
  readonly digest: string | undefined
  readonly entry: RendezvousEntry | undefined
}

/** Stores of a job find one another through a directory. Throws `OPTION_INVALID`. */
export function directoryRendezvous(options: DirectoryRendezvousOptions): Rendezvous {
  return new DirectoryRendezvous(options)
}

class DirectoryRendezvous implements Rendezvous {
  readonly #options: DirectoryRendezvousOptions
  readonly #directory: string
  readonly #fileSystem: FileSystem
  readonly #sightings = new Map<string, Sighting>()
  #beat = 0
  #announced: { readonly path: string; readonly content: string } | undefined

  constructor(options: DirectoryRendezvousOptions) {
    const { directory, job, restart } = options
    if (!jobPattern.test(job) || !Number.isSafeInteger(restart) || restart < 0) {
      const hint = 'A job is letters, digits, ".", "_" and "-"; a restart count is a whole number from 0.'
      throw new ContextStoreError(
        'OPTION_INVALID',
        `No rendezvous for job "${job}", restart ${restart}.`,
        hint,
      )
    }
    this.#options = options
    this.#fileSystem = options.fileSystem ?? nodeFileSystem
    this.#directory = join(directory, `${job}-${restart}`)
  }

  async announce({ environment, addresses }: RendezvousEntry): Promise<void> {
    const { job, restart } = this.#options
    const content = `${JSON.stringify({ version: formatVersion, environment, job, restart, addresses })}\n`
    const path = join(this.#directory, `${environment}-${digestOf(content)}-${++this.#beat}.json`)
    const last = this.#announced
    if (last?.content === content && (await this.#hasRenamed(last.path, path))) {
      this.#announced = { path, content }
      return
    }
    await this.#fileSystem.mkdir(this.#directory, 0o700)
    await this.#write(environment, path, content)
    this.#announced = { path, content }
    for (const announcement of await this.#list()) {
      const old = join(this.#directory, announcement.name)
      if (announcement.environment === environment && old !== path) await removeQuietly(this.#fileSystem, old)
    }
  }

  async withdraw(): Promise<void> {
    if (this.#announced === undefined) return
    await this.#fileSystem.unlink(this.#announced.path).catch(unlessMissing)
    this.#announced = undefined
  }

  async peers(): Promise<readonly RendezvousEntry[]> {
    const nowMs = this.#options.time.monotonic()
    this.#see(await this.#list(), nowMs)
    const alive = [...this.#sightings].filter(([, { changedMs }]) => nowMs - changedMs < leaseMs)
    const unread = alive.filter(([, { names, digest }]) => !names.some((name) => name.digest === digest))
    const { few, many, manyFrom } = readsMax
    let reads = alive.length - unread.length < manyFrom ? few : many
    while (unread.length > 0 && reads-- > 0) {
      const place = Math.floor(this.#options.random.fraction() * unread.length)
      const [picked] = unread.splice(place, 1)
      if (picked !== undefined) await this.#read(...picked)
    }
    return alive.flatMap(([environment]) => this.#sightings.get(environment)?.entry ?? [])
  }

  /** Notes whose names have changed; who has no file any more is forgotten. */
  #see(listed: readonly AnnouncementName[], nowMs: number): void {
    const namesOf = new Map<string, AnnouncementName[]>()
    for (const name of listed) {
      const names = namesOf.get(name.environment)
      if (names === undefined) namesOf.set(name.environment, [name])
      else names.push(name)
    }
    for (const [environment, names] of namesOf) {
      const last = this.#sightings.get(environment)
      const hasChanged =
        last === undefined || names.some(({ name }) => !last.names.some((known) => known.name === name))
      this.#sightings.set(environment, {
        names,
        changedMs: hasChanged ? nowMs : last.changedMs,
        digest: last?.digest,
        entry: last?.entry,
      })
    }
    for (const environment of this.#sightings.keys()) {
      if (!namesOf.has(environment)) this.#sightings.delete(environment)
    }
  }

  /** Reads the newest of a store's files; where that cannot be done, what was read before stays. */
  async #read(environment: string, sighting: Sighting): Promise<void> {
    const newest = sighting.names.toSorted((a, b) => b.beat - a.beat)
    for (const { name, digest } of newest) {
      const text = await this.#readSmall(join(this.#directory, name))
      if (text === undefined || digestOf(text) !== digest) continue
      const entry = this.#parse(text, environment)
      if (entry === undefined) continue
      this.#sightings.set(environment, { ...sighting, digest, entry })
      return
    }
  }

  async #write(environment: string, path: string, content: string): Promise<void> {
    const temporary = join(this.#directory, `.${environment}.${toHex(this.#options.random.bytes(8))}`)
    try {
      await this.#writeSynced(temporary, encodeText(content))
      await this.#fileSystem.rename(temporary, path)
    } catch (error) {
      await removeQuietly(this.#fileSystem, temporary)
      throw error
    }
  }

  /** The announcements of everybody, by name. */
  async #list(): Promise<AnnouncementName[]> {
    const found = (await this.#fileSystem.readdir(this.#directory).catch(unlessMissing)) ?? []
    return found.flatMap((name) => parseAnnouncementName(name) ?? [])
  }

  async #writeSynced(path: string, text: Uint8Array): Promise<void> {
    const file = await this.#fileSystem.open(path, 'wx', 0o600)
    await writeDurably(file, () => writeRange(file, text, 0))
  }

  /** False where it could not be renamed, or a network file system does not say so: then it is written anew. */
  #hasRenamed(from: string, to: string): Promise<boolean> {
    return this.#fileSystem.rename(from, to).then(
      () => true,
      () => false,
    )
  }

  /** The text of a small file; undefined when it cannot be read now. */
  async #readSmall(path: string): Promise<string | undefined> {
    try {
      const file = await this.#fileSystem.open(path, 'plain')
      try {
        const facts = await file.stat()
        if (!facts.isFile() || facts.size > fileBytesMax) return undefined
        return decodeText(await readRange(file, 0, facts.size))
      } finally {
        await file.close()
      }
    } catch {
      return undefined
    }
  }

  /** The entry, unless the text is none of this job, restart and store. */
  #parse(text: string, environment: string): RendezvousEntry | undefined {
    const { job, restart } = this.#options
    const entry = parseJson(text)
    if (typeof entry !== 'object' || entry === null) return undefined
    const fields = entry as Record<string, unknown>
    const fits =
      fields['version'] === formatVersion &&
      fields['environment'] === environment &&
      fields['job'] === job &&
      fields['restart'] === restart
    const addresses = fields['addresses']
    return fits && isAddresses(addresses) ? { environment, addresses } : undefined
  }
}

function isAddresses(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) &&
    value.length <= addressesMax &&
    value.every((address) => typeof address === 'string' && address.length <= addressLengthMax)
  )
}

function unlessMissing(error: unknown): undefined {
  if (systemErrorCode(error) !== 'ENOENT') throw error
}

function digestOf(content: string): string {
  return xxhash64(encodeText(content), 0n).toString(16).padStart(16, '0')
}

/** `undefined` where it is none of ours. */
function parseAnnouncementName(name: string): AnnouncementName | undefined {
  const [, environment, digest, beat] = namePattern.exec(name) ?? []
  if (environment === undefined || digest === undefined) return undefined
  return { name, environment, digest, beat: Number(beat) }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
