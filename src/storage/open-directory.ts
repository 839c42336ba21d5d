/**
 * Opening the directory of a store: preparing and owning it, looking whether its LMDB folders are to be trusted, opening them, knowing format
 * and identity.
 *
 * A damaged file is a crash of the process, not an error. So whatever gives cause (`opening-record.ts`) is verified in a child process first, and
 * what is damaged is moved aside (`quarantine.ts`): the store opens empty, as a new environment, and peers and checkpoints refill it.
 */
import { statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { toHex } from '../base/bytes.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Time } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import { checkSpace, lookAtDataFile } from './data-file.ts'
import {
  environmentFolders,
  indexFolder,
  isOwned,
  logFolder,
  ownDirectory,
  prepareDirectory,
  type Answer,
  type EnvironmentFolder,
  type FileSystemType,
  type Ownership,
} from './directory.ts'
import { dataFileName, openEnvironment, openTable, isDamageOfLmdb, type LmdbEnvironment } from './lmdb.ts'
import { metaKey } from './lmdb-rows.ts'
import { decodeMeta, encodeMeta } from './meta-row.ts'
import {
  bootOf,
  causeToVerify,
  isCopy,
  isRolledBack,
  readOpeningRecord,
  writeOpeningRecord,
  type OpeningRecord,
  type Stamps,
} from './opening-record.ts'
import { moveAside, type Quarantine } from './quarantine.ts'
import { verifyInChild } from './verifier.ts'

export interface OpenDirectoryOptions {
  /** Node-local directory, made if absent, owned by one process. */
  readonly directory: string
  readonly random: Random
  readonly time: Time
  readonly log: Log
  /** Told when the directory was damaged and opened empty. @default not told */
  readonly onQuarantined?: (quarantine: Quarantine) => void
  /** Takes over connections of those who ask the owner. @default nobody is answered */
  readonly answer?: Answer
  /** For tests: tells the type of a file system. */
  readonly fileSystemType?: FileSystemType
}

/** A directory that is open. */
export interface OpenDirectory {
  /** Random identity, hexadecimal. */
  readonly environment: string
  readonly environments: Readonly<Record<EnvironmentFolder, LmdbEnvironment>>
  /** Opened to be read: nothing may be written. */
  readonly isReadOnly: boolean
  /**
   * Closes the environments and gives the directory up.
   *
   * @param how.isSound false after a write failed: lmdb then waits for a flush that never ends, and is left behind
   */
  close(how: { readonly isSound: boolean }): Promise<void>
}

/**
 * Opens a directory, or makes it, and builds a storage on it. Whatever fails, also in `build`, leaves the directory free. Throws
 * `DIRECTORY_NETWORK`, `DIRECTORY_OWNED`, `DIRECTORY_DAMAGED`, `FORMAT_NEWER`, `NOT_DURABLE`.
 */
export async function openDirectory<T>(
  options: OpenDirectoryOptions,
  build: (opened: OpenDirectory) => Promise<T>,
): Promise<T> {
  const { directory, log } = options
  const note = await prepareDirectory(directory, options.fileSystemType)
  if (note !== undefined) log.info(note)
  const ownership = await ownDirectory(directory, options.random, options.answer)
  try {
    return await new Opening(options, ownership).run(build)
  } catch (error) {
    await ownership.release()
    throw asDirectoryError(error, directory)
  }
}

/** How a directory is read that nobody owns. */
export interface ReadDirectoryOptions {
  readonly directory: string
  /** An empty folder, for what is derived from the log: the index of the directory is not looked at. */
  readonly scratch: string
  readonly time: Time
  readonly log: Log
  /** Verifies the whole log first; otherwise only where something gives cause. */
  readonly verify: boolean
}

/**
 * Opens a directory to read it: nothing in it is changed, except that LMDB makes its lock file where it may. Where somebody comes to own it meanwhile,
 * what was read may be of several moments: `undefined`. Throws `DIRECTORY_DAMAGED`, `FORMAT_NEWER`, `SNAPSHOT_MISSING`.
 */
export async function readDirectory<T>(
  options: ReadDirectoryOptions,
  read: (opened: OpenDirectory) => Promise<T>,
): Promise<T | undefined> {
  const { directory, scratch } = options
  const seen = look(directory, readOpeningRecord(directory), bootOf())
  const { files } = seen
  if (files[logFolder] === undefined) {
    throw new ContextStoreError('SNAPSHOT_MISSING', `The store in ${directory} is empty.`, 'Check the path.')
  }
  const cause = seen.cause ?? (options.verify ? 'it was asked for' : undefined)
  const damage = await findDamage(options, 'read', { ...seen, cause })
  if (damage?.folder === logFolder) throw damagedDirectory(directory, damage.reason)
  let environments: Environments | undefined
  try {
    environments = openAll({
      [logFolder]: () => openEnvironment(join(directory, logFolder), { readOnly: true }),
      [indexFolder]: () => openEnvironment(join(scratch, indexFolder), { readOnly: false }),
    })
    const row = openTable(environments[logFolder], 'meta').get(metaKey)
    const environment = decodeMeta(row ?? new Uint8Array(0), directory)
    const result = await read({ environment, environments, isReadOnly: true, close: () => Promise.resolve() })
    const isStill = isDeepStrictEqual(stampsOf(directory)[logFolder], files[logFolder])
    return isStill && !(await isOwned(directory)) ? result : undefined
  } catch (error) {
    if (await isOwned(directory)) return undefined
    throw asDirectoryError(error, directory)
  } finally {
    if (environments !== undefined) await closeAll(environments)
  }
}

type Environments = Readonly<Record<EnvironmentFolder, LmdbEnvironment>>

/** What is damaged, and where. */
interface Damage {
  readonly folder: EnvironmentFolder
  readonly reason: string
}

class Opening {
  readonly #options: OpenDirectoryOptions
  readonly #ownership: Ownership
  #quarantine: Quarantine | undefined

  constructor(options: OpenDirectoryOptions, ownership: Ownership) {
    this.#options = options
    this.#ownership = ownership
  }

  async run<T>(build: (opened: OpenDirectory) => Promise<T>): Promise<T> {
    const { directory } = this.#options
    const [record, boot] = [readOpeningRecord(directory), bootOf()]
    const seen = look(directory, record, boot)
    const damage = await findDamage(this.#options, 'own', seen)
    if (damage !== undefined) await this.#giveUp(damage)
    const files = this.#quarantine === undefined ? seen.files : {}
    const copied = isCopy(record, boot, files)
    try {
      return await this.#open(boot, files, copied, build)
    } catch (error) {
      if (this.#quarantine !== undefined || !isDamage(error)) throw error
      return await this.#openWithoutDamaged(boot, files, copied, build, (error as Error).message)
    }
  }

  /** Damage that nothing gave cause to look for: the index may have it, else it is in the log. */
  async #openWithoutDamaged<T>(
    boot: string,
    files: Stamps,
    copied: boolean,
    build: (opened: OpenDirectory) => Promise<T>,
    reason: string,
  ): Promise<T> {
    try {
      await this.#giveUp({ folder: indexFolder, reason })
      return await this.#open(boot, files, copied, build)
    } catch (error) {
      if (!isDamage(error)) throw error
      await this.#giveUp({ folder: logFolder, reason: (error as Error).message })
      return await this.#open(boot, {}, false, build)
    }
  }

  async #open<T>(
    boot: string,
    files: Stamps,
    copied: boolean,
    build: (opened: OpenDirectory) => Promise<T>,
  ): Promise<T> {
    const { directory } = this.#options
    if (files[logFolder] === undefined) await checkSpace(join(directory, logFolder))
    this.#record({ phase: 'opening', boot, files })
    const openHere = (folder: EnvironmentFolder) => () =>
      openEnvironment(join(directory, folder), { readOnly: false })
    const environments = openAll({
      [logFolder]: openHere(logFolder),
      [indexFolder]: openHere(indexFolder),
    })
    try {
      const environment = await this.#identity(environments[logFolder], copied)
      const inodes = inodesOf(directory)
      const close: OpenDirectory['close'] = async ({ isSound }) => {
        const closed = closeAll(environments)
        if (isSound) await closed
        else closed.catch(() => {})
        // Of what could not be written, or was removed, nothing is said: it is not as it should be.
        if (isSound && inodesOf(directory) === inodes)
          this.#record({ phase: 'closed', boot, files: stampsOf(directory) })
        await this.#ownership.release()
      }
      const built = await build({ environment, environments, isReadOnly: false, close })
      this.#record({ phase: 'open', boot, files: stampsOf(directory) })
      if (this.#quarantine !== undefined) this.#options.onQuarantined?.(this.#quarantine)
      return built
    } catch (error) {
      await closeAll(environments)
      throw error
    }
  }

  /** The identity of the environment: kept, drawn where it is new, and drawn anew for a copy. */
  async #identity(root: LmdbEnvironment, copied: boolean): Promise<string> {
    const { directory, random, log } = this.#options
    const meta = openTable(root, 'meta')
    const row = meta.get(metaKey)
    const known = row === undefined ? undefined : decodeMeta(row, directory)
    if (known !== undefined && !copied) return known
    const environment = toHex(random.bytes(16))
    if (known !== undefined) {
      const facts = { directory, copyOf: known, environment }
      log.warn('the directory is a copy: it becomes an environment of its own', facts)
    }
    await meta.put(metaKey, encodeMeta(environment))
    return environment
  }

  /** An index is removed, as the log makes it anew; with a damaged log everything is moved aside. */
  async #giveUp({ folder, reason }: Damage): Promise<void> {
    const { directory, time, log } = this.#options
    if (folder === indexFolder) {
      await rm(join(directory, indexFolder), { recursive: true, force: true })
      log.warn('the index was damaged; it is made anew', { directory, reason })
      return
    }
    const path = await moveAside(directory, time.now())
    this.#quarantine = { reason, path }
    const facts = { directory, reason, path }
    log.warn('the directory was damaged; it was moved aside and the store opens empty', facts)
  }

  /** What cannot be recorded, on a full disk, is verified the next time. */
  #record(record: OpeningRecord): void {
    const { directory, log } = this.#options
    try {
      writeOpeningRecord(directory, record)
    } catch (error) {
      log.warn('how the directory was opened could not be recorded', { directory, error: String(error) })
    }
  }
}

/** What is known of a directory before it is opened. */
interface Look {
  readonly files: Stamps
  /** Why it should be verified, if at all. */
  readonly cause: string | undefined
  /** What is seen to be damaged without verifying. */
  readonly damage: Damage | undefined
}

/** Throws `FORMAT_NEWER`. */
function look(directory: string, record: OpeningRecord | undefined, boot: string): Look {
  const found = environmentFolders.map((folder) => ({
    folder,
    file: lookAtDataFile(join(directory, folder)),
  }))
  const files = Object.fromEntries(found.map(({ folder, file }) => [folder, file?.stamp]))
  if (found.some(({ file }) => file?.isNewer === true)) throw newerDirectory(directory)
  if (found.every(({ file }) => file === undefined)) return { files, cause: undefined, damage: undefined }
  const isShort = found.some(({ file }) => file?.isShort === true)
  const cause = isShort ? 'a data file is shorter than it says' : causeToVerify(record, boot, files)
  const foreign = found.find(({ file }) => file?.isForeign === true)
  const damage: Damage | undefined =
    foreign !== undefined
      ? { folder: foreign.folder, reason: 'its data file is none of LMDB' }
      : isRolledBack(record, files)
        ? { folder: logFolder, reason: 'its data file shows an older state than it was closed with' }
        : undefined
  return { files, cause, damage } as const
}

/** Returns what is damaged; `undefined` where it is sound, or could not be verified. Throws what opening would, for another format. */
async function findDamage(
  { directory, time, log }: Pick<OpenDirectoryOptions, 'directory' | 'time' | 'log'>,
  purpose: 'own' | 'read',
  { cause, damage }: Look,
): Promise<Damage | undefined> {
  if (damage !== undefined || cause === undefined) return damage
  const verdict = await verifyInChild(directory, purpose, time)
  if (verdict.kind === 'refused') throw new ContextStoreError(verdict.code, verdict.message, verdict.hint)
  if (verdict.kind === 'damaged') {
    const { folder, reason } = verdict
    return { folder: folder === indexFolder ? indexFolder : logFolder, reason }
  }
  if (verdict.kind === 'unknown') {
    const { reason } = verdict
    log.warn('the directory could not be verified before it is opened', { directory, cause, reason })
  } else log.info('the directory was verified', { directory, cause })
  return undefined
}

/** All or none. */
function openAll(openers: Readonly<Record<EnvironmentFolder, () => LmdbEnvironment>>): Environments {
  const opened: [string, LmdbEnvironment][] = []
  try {
    for (const folder of environmentFolders) opened.push([folder, openers[folder]()])
    return Object.fromEntries(opened) as Environments
  } catch (error) {
    for (const [, environment] of opened) void environment.close()
    throw error
  }
}

async function closeAll(environments: Environments): Promise<void> {
  await Promise.all(Object.values(environments).map((environment) => environment.close()))
}

function stampsOf(directory: string): Stamps {
  return Object.fromEntries(
    environmentFolders.map((folder) => [folder, lookAtDataFile(join(directory, folder))?.stamp]),
  )
}

/** Which files these are, as one text. */
function inodesOf(directory: string): string {
  const inodeOf = (folder: string): bigint | undefined =>
    statSync(join(directory, folder, dataFileName), { bigint: true, throwIfNoEntry: false })?.ino
  return environmentFolders.map(inodeOf).join(' ')
}

/** Errors of the system, such as a missing permission, and bugs of ours damage nothing. */
function isDamage(error: unknown): boolean {
  if (error instanceof ContextStoreError) return error.code === 'DIRECTORY_DAMAGED'
  return isDamageOfLmdb(error)
}

function asDirectoryError(error: unknown, directory: string): ContextStoreError {
  return error instanceof ContextStoreError ? error : damagedDirectory(directory, undefined, error)
}

function damagedDirectory(directory: string, reason: string | undefined, cause?: unknown): ContextStoreError {
  return new ContextStoreError(
    'DIRECTORY_DAMAGED',
    `The store in ${directory} cannot be opened${reason === undefined ? '' : `: ${reason}`}.`,
    'Open it with `openStore`, which moves what is damaged aside, and restore from peers or a checkpoint.',
    { cause },
  )
}

function newerDirectory(directory: string): ContextStoreError {
  return new ContextStoreError(
    'FORMAT_NEWER',
    `The store in ${directory} was written by a later version.`,
    'Update cairn-store.',
  )
}
