/** Snapshot files for tests, made by the library as a job makes them. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStore, type Key, type Store, type Value } from '../../src/index.ts'

/** A directory that is deleted with everything in it. */
export class Folder {
  readonly path = mkdtempSync(join(tmpdir(), 'cairn-cli-test-'))

  at(...names: readonly string[]): string {
    return join(this.path, ...names)
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}

/** Has a worker write `entries` and checkpoint them into `directory`. Returns the snapshot file. */
export async function checkpoint(
  directory: string,
  worker: string,
  entries: readonly (readonly [Key, Value])[],
): Promise<string> {
  await using store = await openStore({ worker, checkpoint: { dir: directory } })
  for (const [key, value] of entries) store.set(key, value)
  return await commit(store, directory)
}

async function commit(store: Store, directory: string): Promise<string> {
  await store.checkpoint()
  const name = readdirSync(directory).find(
    (file) => file.endsWith('.cairn') && file.includes(store.environment),
  )
  if (name === undefined) throw new Error(`no snapshot of ${store.environment} in ${directory}`)
  return join(directory, name)
}

/** Copies a file with the byte at `offset` changed; a negative offset counts from the end. */
export function damage(from: string, to: string, offset: number): string {
  const bytes = readFileSync(from)
  const position = offset < 0 ? bytes.length + offset : offset
  bytes.writeUInt8(bytes.readUInt8(position) ^ 0x40, position)
  writeFileSync(to, bytes)
  return to
}

/** Copies a snapshot as if a later version had written it. */
export function makeNewer(from: string, to: string): string {
  const bytes = readFileSync(from)
  bytes.writeUInt32LE(bytes.readUInt32LE(8) + 1, 8)
  writeFileSync(to, bytes)
  return to
}
