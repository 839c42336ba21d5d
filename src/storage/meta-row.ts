/** The one row of the table `meta`: which format, whose environment. */
import { pack, unpack } from '../base/codec.ts'
import { ContextStoreError } from '../errors.ts'
import { openRow, sealRow } from './lmdb-rows.ts'

const formatVersion = 2

export function encodeMeta(environment: string): Uint8Array {
  return sealRow(pack({ format: formatVersion, environment }))
}

/** The environment's identity. Throws `FORMAT_NEWER`, `DIRECTORY_DAMAGED`. */
export function decodeMeta(row: Uint8Array, directory: string): string {
  const { format, environment } = (unpack(openRow(row, 'meta')) ?? {}) as {
    format?: unknown
    environment?: unknown
  }
  if (typeof format === 'number' && format > formatVersion) {
    throw new ContextStoreError(
      'FORMAT_NEWER',
      `The store in ${directory} has format ${format}, this version knows ${formatVersion}.`,
      'Update cairn-store.',
    )
  }
  if (format === formatVersion && typeof environment === 'string') return environment
  if (format === 1) {
    throw new ContextStoreError(
      'OPTION_INVALID',
      `The store in ${directory} has format 1, of before the first release.`,
      'Restore it from a checkpoint into another directory.',
    )
  }
  throw new ContextStoreError(
    'DIRECTORY_DAMAGED',
    `The store in ${directory} does not say what it is.`,
    'Move the directory aside and restore from peers or a checkpoint.',
  )
}
