/**
 * How sections are stored: as they are, or compressed by what this Node has built in. Zstandard came with Node 22.15; it is looked for by name, and where it is not,
 * files that need it say so.
 */
import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import type { Transform } from 'node:stream'
import { ContextStoreError } from '../errors.ts'
import { codec, type Codec } from './format.ts'

/**
 * `none`; `deflate`: everybody reads it, 170 MB/s; `brotli`: half of that size, 25 MB/s; `zstd`: in between, 300 MB/s, where Node has it (from 22.15). Figures of 13 MB of small
 * records, one core.
 */
export type CodecName = keyof typeof codec

/** One codec in this process. Works on threads of its own, not in the event loop. */
export interface Compression {
  compress(raw: Uint8Array): Promise<Uint8Array>
  /** Rejects where more than `maxOutputLength` bytes would come out. */
  decompress(stored: Uint8Array, limit: { readonly maxOutputLength: number }): Promise<Uint8Array>
  decompressing(options: { readonly chunkSize: number }): Transform
}

type Parameters = Readonly<Record<number, number>>

type Done = (error: Error | null, result: Uint8Array) => void

/** What Node has of Zstandard, if anything; the types of Node 20 do not know it. */
interface Zstandard {
  readonly zstdCompress?: (raw: Uint8Array, options: { readonly params: Parameters }, done: Done) => void
  readonly zstdDecompress?: (
    stored: Uint8Array,
    options: { readonly maxOutputLength: number },
    done: Done,
  ) => void
  readonly createZstdDecompress?: (options: { readonly chunkSize: number }) => Transform
  readonly constants: { readonly ZSTD_c_compressionLevel?: number }
}

const deflateRaw = promisify(zlib.deflateRaw)
const brotliCompress = promisify<Uint8Array, zlib.BrotliOptions, Uint8Array>(zlib.brotliCompress)
const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_SIZE_HINT, Z_BEST_SPEED } = zlib.constants

/** Levels are part of the bytes that are written: equal states are stored alike. */
const compressions: Readonly<Record<Codec, Compression | undefined>> = {
  [codec.none]: undefined,
  [codec.deflate]: {
    compress: (raw) => deflateRaw(raw, { level: Z_BEST_SPEED }),
    decompress: promisify<Uint8Array, zlib.ZlibOptions, Uint8Array>(zlib.inflateRaw),
    decompressing: zlib.createInflateRaw,
  },
  [codec.brotli]: {
    compress: (raw) =>
      brotliCompress(raw, { params: { [BROTLI_PARAM_QUALITY]: 5, [BROTLI_PARAM_SIZE_HINT]: raw.length } }),
    decompress: promisify<Uint8Array, zlib.BrotliOptions, Uint8Array>(zlib.brotliDecompress),
    decompressing: zlib.createBrotliDecompress,
  },
  [codec.zstd]: zstandard(zlib as unknown as Zstandard),
}

function zstandard({ zstdCompress, zstdDecompress, createZstdDecompress, constants }: Zstandard) {
  const level = constants.ZSTD_c_compressionLevel
  if (!zstdCompress || !zstdDecompress || !createZstdDecompress || level === undefined) return undefined
  const compress = promisify(zstdCompress)
  return {
    // Of records of context level 1 makes less than the usual 3, in half the time.
    compress: (raw: Uint8Array) => compress(raw, { params: { [level]: 1 } }),
    decompress: promisify(zstdDecompress),
    decompressing: createZstdDecompress,
  }
}

/** Those that this Node has. */
export const codecsHere: readonly CodecName[] = (Object.keys(codec) as CodecName[]).filter(
  (name) => codec[name] === codec.none || compressions[codec[name]] !== undefined,
)

/** The number of a codec that was asked for. Throws `OPTION_INVALID` for a name that is none, or where this Node does not have it. */
export function codecNamed(name: CodecName, option = 'codec'): Codec {
  if (codecsHere.includes(name)) return codec[name]
  const isKnown = Object.hasOwn(codec, name)
  throw new ContextStoreError(
    'OPTION_INVALID',
    `${option} is ${JSON.stringify(name)}${isKnown ? `, which Node ${process.versions.node} does not have` : ''}.`,
    `Give one of ${codecsHere.join(', ')}${isKnown ? ', or use Node 22.15 or later' : ''}.`,
  )
}

/** What reads and writes sections under a codec other than `none`. Throws `FORMAT_NEWER` where this Node does not have it, with the file that it is needed for. */
export function compressionOf(by: Codec, path: string): Compression {
  const compression = compressions[by]
  if (compression !== undefined) return compression
  throw new ContextStoreError(
    'FORMAT_NEWER',
    `Snapshot "${path}" is compressed with Zstandard (codec ${by}), which Node ${process.versions.node} does not have.`,
    'Read it with Node 22.15 or later; `cairn merge --codec deflate` there makes a file that every Node reads.',
  )
}
