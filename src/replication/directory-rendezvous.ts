/**
 * A directory on a shared file system as rendezvous: `<directory>/<job>-<restart>/<environment>.json`, one file a store.
 *
 * | field | meaning |
 * |---|---|
 * | version | 1 |
 * | environment, job, restart | whose it is; a file that does not fit its place is foreign and left out |
 * | addresses | where to dial, up to 16 |
 * | beat | counts up with each announcement |
 *
 * A file is replaced whole: written under a unique name, synced, closed, renamed. Nothing is locked and nothing but the own file is ever removed.
 * Readers do not compare clocks: an entry is alive while its text keeps changing, seen on the reader's own monotonic clock; one that is seen for the first
 * time counts as alive. Shared file systems show directories late and files half: what cannot be read now is read the next time.
 */
import { join } from 'node:path'
import { decodeText, encodeText, toHex } from '../base/bytes.ts'
import {
  type FileSystem,
  type OpenFile,
  nodeFileSystem,
  readRange,
  removeQuietly,
  systemErrorCode,
} from '../base/file-system.ts'
import type { Random } from '../base/random.ts'
import type { Time } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import { isEnvironment } from './handshake.ts'
import { type Rendezvous, type RendezvousEntry, announceIntervalMs } from './rendezvous.ts'

/** How long an entry that does not change counts as alive: three announcements, milliseconds. */
export const leaseMs = 3 * announceIntervalMs
/** A file that is known is not read again within this time, milliseconds: whoever asks often costs the file system one listing. */
const rereadMs = announceIntervalMs / 2
/** Longest file that is read, bytes. */
const fileBytesMax = 16_384
const addressesMax = 16
const addressLengthMax = 512
const formatVersion = 1
const suffix = '.json'
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

/** What was last seen of a store. */
interface Sighting {
  readonly text: string
  readonly entry: RendezvousEntry
  readonly changedMs: number
  readonly readMs: number
}

/** Stores of a job find one another through a directory. Throws `OPTION_INVALID`. */
export function directoryRendezvous(options: DirectoryRendezvousOptions): Rendezvous {
  return new DirectoryRendezvous(options)
}

class DirectoryRendezvous implements Rendezvous {
  readonly #options: DirectoryRendezvousOptions
  readonly #directory: string
  readonly #fileSystem: FileSystem
  #sightings = new Map<string, Sighting>()
  #beat = 0
  #announced: string | undefined

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
    const { job, restart, random } = this.#options
    this.#beat++
    const entry = { version: formatVersion, environment, job, restart, addresses, beat: this.#beat }
    const path = join(this.#directory, `${environment}${suffix}`)
    const temporary = join(this.#directory, `.${environment}.${toHex(random.bytes(8))}`)
    await this.#fileSystem.mkdir(this.#directory, 0o700)
    try {
      await this.#writeSynced(temporary, encodeText(`${JSON.stringify(entry)}\n`))
      await this.#fileSystem.rename(temporary, path)
    } catch (error) {
      await removeQuietly(this.#fileSystem, temporary)
      throw error
    }
    this.#announced = path
  }

  async withdraw(): Promise<void> {
    if (this.#announced === undefined) return
    await this.#fileSystem.unlink(this.#announced).catch(unlessMissing)
    this.#announced = undefined
  }

  async peers(): Promise<readonly RendezvousEntry[]> {
    const nowMs = this.#options.time.monotonic()
    const sightings = new Map<string, Sighting>()
    for (const environment of await this.#list()) {
      const last = this.#sightings.get(environment)
      const sighting =
        last !== undefined && nowMs - last.readMs < rereadMs
          ? last
          : await this.#read(environment, last, nowMs)
      if (sighting !== undefined) sightings.set(environment, sighting)
    }
    this.#sightings = sightings
    const alive = [...sightings.values()].filter(({ changedMs }) => nowMs - changedMs < leaseMs)
    return alive.map(({ entry }) => entry)
  }

  /** What is there now; what was there before if that cannot be read. */
  async #read(environment: string, last: Sighting | undefined, nowMs: number): Promise<Sighting | undefined> {
    const text = await this.#readSmall(join(this.#directory, `${environment}${suffix}`))
    const entry = text === undefined ? undefined : this.#parse(text, environment)
    if (text === undefined || entry === undefined || text === last?.text)
      return last && { ...last, readMs: nowMs }
    return { text, entry, changedMs: nowMs, readMs: nowMs }
  }

  async #list(): Promise<string[]> {
    const names = (await this.#fileSystem.readdir(this.#directory).catch(unlessMissing)) ?? []
    return names
      .filter((name) => name.endsWith(suffix))
      .map((name) => name.slice(0, -suffix.length))
      .filter(isEnvironment)
  }

  async #writeSynced(path: string, text: Uint8Array): Promise<void> {
    const file = await this.#fileSystem.open(path, 'wx', 0o600)
    await closing(file, async () => {
      for (let done = 0; done < text.length;) {
        const { bytesWritten } = await file.write(text, done, text.length - done, done)
        done += bytesWritten
      }
      await file.sync()
    })
  }

  /** The text of a small file; undefined when it cannot be read now. */
  async #readSmall(path: string): Promise<string | undefined> {
    try {
      const facts = await this.#fileSystem.stat(path)
      if (!facts.isFile() || facts.size > fileBytesMax) return undefined
      const file = await this.#fileSystem.open(path, 'r')
      try {
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

/** Closing is checked: on a network file system it is where a failed write shows. */
async function closing(file: OpenFile, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    await file.close().catch(() => {})
    throw error
  }
  await file.close()
}

function unlessMissing(error: unknown): undefined {
  if (systemErrorCode(error) !== 'ENOENT') throw error
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
