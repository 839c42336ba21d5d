/** Directories, files and errors for the tests of snapshots. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { systemTime, type Time } from '../../src/base/time.ts'
import { pack } from '../../src/base/codec.ts'
import { ContextStoreError } from '../../src/errors.ts'
import { encodeState, type ShardDocument } from '../../src/model/shard-document.ts'
import type { ShardName } from '../../src/model/shard.ts'
import type { CodecName } from '../../src/snapshot/codecs.ts'
import { commitFile } from '../../src/snapshot/commit-file.ts'
import { nodeFileSystem, type FileSystem } from '../../src/base/file-system.ts'
import {
  codec,
  compareNames,
  encodeHeader,
  encodeTrailerEnd,
  encodeTrailerHead,
  sha256,
  type SnapshotManifest,
} from '../../src/snapshot/format.ts'
import { openSnapshotFile } from '../../src/snapshot/snapshot-file.ts'
import { writeSnapshot, type SectionInput } from '../../src/snapshot/snapshot-writer.ts'

const made: string[] = []
let count = 0

afterAll(() => {
  for (const directory of made) rmSync(directory, { recursive: true, force: true })
})

/** A directory that is removed at the end of the test file. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'cairn-snapshot-'))
  made.push(directory)
  return directory
}

export const random = seededRandom(1)

/** 1, 2, 3, ... seconds. */
export function steppingTime(): Time {
  let seconds = 0
  return { ...systemTime, now: () => ++seconds * 1000 }
}

export const origin = { environment: 'e1', generation: 7, tag: 'step-7', job: 'job-42', software: 'test' }

/** The sections of documents, in order. */
export function sectionsOf(documents: ReadonlyMap<ShardName, ShardDocument>): SectionInput[] {
  return [...documents.values()]
    .filter((document) => document.clocks.size > 0)
    .sort((a, b) => compareNames(a.shard, b.shard))
    .map((document) => {
      const { clocks, digest, cells } = document.summary
      return {
        kind: 'state',
        facts: { shard: document.shard, clocks, digest, cells },
        update: encodeState(document),
      }
    })
}

/** For tests that write thousands of files and are not about power cuts. */
export const hastyFileSystem: FileSystem = {
  ...nodeFileSystem,
  open: async (path, flags) =>
    Object.assign(await nodeFileSystem.open(path, flags), { sync: async () => undefined }),
}

/** Writes a snapshot as a test wants it. */
export async function writeFile(
  path: string,
  documents: ReadonlyMap<ShardName, ShardDocument>,
  codecName: CodecName = 'none',
  fileSystem: FileSystem = nodeFileSystem,
): Promise<SnapshotManifest> {
  let manifest: SnapshotManifest | undefined
  const write = async (sink: Parameters<Parameters<typeof commitFile>[1]>[0]): Promise<void> => {
    ;({ manifest } = await writeSnapshot(sink, origin, sectionsOf(documents), codec[codecName]))
  }
  await commitFile(path, write, { fileSystem, random, overwrite: true })
  return manifest as SnapshotManifest
}

/** A file with any manifest over any bytes, all hashes right: what a hostile hand would write. */
export function craftFile(path: string, body: Uint8Array, manifest: unknown): void {
  sealFile(path, body, pack(manifest))
}

export function sealFile(path: string, body: Uint8Array, manifest: Uint8Array): void {
  const covered = Buffer.concat([encodeHeader(), body, manifest, encodeTrailerHead(manifest)])
  writeFileSync(path, Buffer.concat([covered, encodeTrailerEnd(sha256(covered))]))
}

/** The code of the error with which something ends; any other error is thrown on, and no error is `none`. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'none'
  } catch (error) {
    if (error instanceof ContextStoreError) return error.code
    throw error
  }
}

/** Checks equality, and tells with which run, call or seed it failed. */
export function expectSame(actual: unknown, expected: unknown, what: string): void {
  expect({ what, value: actual }).toEqual({ what, value: expected })
}

export function expectOneOf(actual: unknown, allowed: readonly unknown[], what: string): void {
  expect({ what, value: actual, isAllowed: allowed.includes(actual) }).toMatchObject({ isAllowed: true })
}

/** Opens and verifies a file. */
export async function verifyFile(path: string): Promise<void> {
  await using file = await openSnapshotFile(path)
  await file.verify()
}

/** Fresh names in a directory. */
export function freshPath(directory: string): string {
  return join(directory, `file-${count++}.cairn`)
}

export function equalFiles(a: string, b: string): boolean {
  return readFileSync(a).equals(readFileSync(b))
}
