/** Opening the directory of a store: preparing and owning it, opening its LMDB environments, knowing its format and identity. */
import { join } from 'node:path'
import { toHex } from '../base/bytes.ts'
import { pack, unpack } from '../base/codec.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Time } from '../base/time.ts'
import { ContextStoreError } from '../errors.ts'
import { checkDataFile } from './data-file.ts'
import {
  environmentFolders,
  ownDirectory,
  prepareDirectory,
  type EnvironmentFolder,
  type FileSystemType,
} from './directory.ts'
import { openEnvironment, openTable, type LmdbEnvironment } from './lmdb.ts'
import { metaKey, openRow, sealRow } from './lmdb-rows.ts'

const formatVersion = 2

export interface OpenDirectoryOptions {
  /** Node-local directory, made if absent, owned by one process. */
  readonly directory: string
  readonly random: Random
  readonly time: Time
  readonly log: Log
  /** For tests: tells the type of a file system. */
  readonly fileSystemType?: FileSystemType
}

/** A directory that is open: ours, with its environments. */
export interface OpenDirectory {
  /** Random identity, hexadecimal. */
  readonly environment: string
  readonly environments: Readonly<Record<EnvironmentFolder, LmdbEnvironment>>
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
  const { directory, random } = options
  await prepareDirectory(directory, options.fileSystemType)
  const ownership = await ownDirectory(directory, random)
  const environments: LmdbEnvironment[] = []
  try {
    for (const folder of environmentFolders) {
      const path = join(directory, folder)
      await checkDataFile(path)
      environments.push(openEnvironment(path))
    }
    const named = Object.fromEntries(environmentFolders.map((folder, i) => [folder, environments[i]]))
    const opened = named as Record<EnvironmentFolder, LmdbEnvironment>
    const environment = await readMeta(opened.lmdb, options)
    return await build({
      environment,
      environments: opened,
      close: async ({ isSound }) => {
        const closed = Promise.all(environments.map((each) => each.close()))
        if (isSound) await closed
        else closed.catch(() => {})
        await ownership.release()
      },
    })
  } catch (error) {
    for (const each of environments) await each.close()
    await ownership.release()
    if (error instanceof ContextStoreError) throw error
    throw new ContextStoreError(
      'DIRECTORY_DAMAGED',
      `The store in ${directory} cannot be opened.`,
      'Move the directory aside and restore from peers or a checkpoint.',
      { cause: error },
    )
  }
}

async function readMeta(root: LmdbEnvironment, options: OpenDirectoryOptions): Promise<string> {
  const meta = openTable(root, 'meta')
  const row = meta.getBinary(metaKey)
  if (row !== undefined) {
    const { format, environment } = unpack(openRow(row, 'meta')) as { format: number; environment: string }
    if (format > formatVersion) {
      throw new ContextStoreError(
        'FORMAT_NEWER',
        `The store in ${options.directory} has format ${format}, this version knows ${formatVersion}.`,
        'Update cairn-store.',
      )
    }
    return environment
  }
  const environment = toHex(options.random.bytes(16))
  await meta.put(metaKey, encodeMeta(environment))
  return environment
}

/** The one row of `meta`. */
export function encodeMeta(environment: string): Uint8Array {
  return sealRow(pack({ format: formatVersion, environment }))
}
