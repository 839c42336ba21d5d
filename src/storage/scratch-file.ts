/** A file without a name: gone when it is closed, or when the process ends, however it ends. */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ContextStoreError } from '../errors.ts'

export class ScratchFile {
  readonly #file: number
  #length = 0

  /** Lies in the system's directory for temporary files. Throws `NOT_DURABLE` where nothing can be made there. */
  constructor() {
    this.#file = attempt(() => {
      const folder = mkdtempSync(join(tmpdir(), 'cairn-'))
      try {
        return openSync(join(folder, 'scratch'), 'wx+', 0o600)
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    })
  }

  get length(): number {
    return this.#length
  }

  /** Returns where the bytes begin. Throws `NOT_DURABLE` where there is no room. */
  append(bytes: Uint8Array): number {
    const position = this.#length
    for (let done = 0; done < bytes.length;)
      done += attempt(() => writeSync(this.#file, bytes, done, bytes.length - done, position + done))
    this.#length += bytes.length
    return position
  }

  /** Fills `into` from a position; returns how many bytes there were. */
  read(into: Uint8Array, position: number): number {
    return readAt(this.#file, into, position)
  }

  close(): void {
    closeSync(this.#file)
  }
}

/** Fills `into` from a position of an open file; returns how many bytes there were. */
export function readAt(file: number, into: Uint8Array, position: number): number {
  let done = 0
  while (done < into.length) {
    const count = readSync(file, into, done, into.length - done, position + done)
    if (count === 0) break
    done += count
  }
  return done
}

function attempt<T>(task: () => T): T {
  try {
    return task()
  } catch (cause) {
    throw new ContextStoreError(
      'NOT_DURABLE',
      `There is no room for temporary files: ${(cause as Error).message}.`,
      `Free space in ${tmpdir()}, or set TMPDIR to a directory with room.`,
      { cause },
    )
  }
}
