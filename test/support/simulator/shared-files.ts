/**
 * The shared file system of a job: one server, and clients that see late what others do. A client has its own old listings, its own belief that a file is not
 * there, and its own pages of files it has written; the server may lose a reply, forget a handle, or refuse at close what it seemed to take.
 */
import type { Choices } from '../../../property-tests/support/choices.ts'
import type { FileFacts, FileSystem, OpenFile } from '../../../src/base/file-system.ts'

/** What passes while a client waits for the server. */
export interface ClientTime {
  monotonic(): number
  wait(delayMs: number): Promise<void>
}

/** How it is at the moment. Probabilities are for each call. */
export interface SharedConditions {
  callMs: { least: number; most: number }
  /** How old listings, facts and absences may be, milliseconds. */
  staleMs: number
  /** The rename was done and its reply got lost. */
  lostReply: number
  /** A handle is not known any more. */
  stale: number
  /** What was written did not come through, and close says so. */
  closeFailure: number
  /** Full, over quota, or failing: for calls that write. */
  failure: number
  /** Readers elsewhere see a new file by half. */
  partial: number
}

export const goodSharedFiles = (): SharedConditions => ({
  callMs: { least: 0, most: 1 },
  staleMs: 0,
  lostReply: 0,
  stale: 0,
  closeFailure: 0,
  failure: 0,
  partial: 0,
})

export type SharedFault =
  'stale-listing' | 'lost-reply' | 'stale-handle' | 'close-failure' | 'failure' | 'partial'

/** A file on the server. */
interface Inode {
  bytes: Uint8Array
  length: number
  /** By another client the file looks shorter until then. */
  partialUntilMs: number
  /** Whose cache still has what the server refused, and what that is. */
  refused: { readonly client: string; readonly bytes: Uint8Array } | undefined
  writer: string
}

const partialMs = 2_000

export class SharedFiles {
  conditions = goodSharedFiles()
  /** Called when a call of a client has changed what is there. */
  onChange: (path: string) => void = () => {}
  onFault: (fault: SharedFault) => void = () => {}
  readonly choices: Choices
  readonly files: Map<string, Inode>
  readonly directories: Set<string>

  constructor(choices: Choices, files = new Map<string, Inode>(), directories = new Set<string>(['/'])) {
    this.choices = choices
    this.files = files
    this.directories = directories
  }

  /** True while no call fails, and nothing is seen late or by half. */
  get areGood(): boolean {
    const { callMs: _, ...faults } = this.conditions
    return Object.values(faults).every((value) => value === 0)
  }

  /** The file system as somebody sees it for whom nothing fails and no time passes. */
  truth(): FileSystem {
    const shared = new SharedFiles(this.choices, this.files, this.directories)
    return shared.clientOf('truth', { monotonic: () => Infinity, wait: async () => {} })
  }

  /** What the server has of a file; `undefined` where there is none. */
  content(path: string): Uint8Array | undefined {
    const inode = this.files.get(path)
    return inode?.bytes.subarray(0, inode.length)
  }

  /** Names in a directory, as the server has them. */
  list(directory: string): string[] {
    const start = directory === '/' ? 1 : directory.length + 1
    const names: string[] = []
    for (const paths of [this.files.keys(), this.directories])
      for (const path of paths)
        if (path.length > start && path.startsWith(directory) && path.lastIndexOf('/') === start - 1)
          names.push(path.slice(start))
    return names.sort()
  }

  /** Changes a bit of a file that lies there. */
  rot(path: string): boolean {
    const inode = this.files.get(path)
    if (inode === undefined || inode.length === 0) return false
    const at = this.choices.below(inode.length)
    inode.bytes = inode.bytes.slice()
    inode.bytes[at] = (inode.bytes[at] as number) ^ (1 << this.choices.below(8))
    return true
  }

  /** The file system as one computer sees it. */
  clientOf(name: string, time: ClientTime): FileSystem {
    return new Client(this, name, time)
  }

  fail(code: string, path: string): Error {
    return Object.assign(new Error(`${code}: simulated, '${path}'`), { code })
  }
}

class Client implements FileSystem {
  readonly #shared: SharedFiles
  readonly #name: string
  readonly #time: ClientTime
  readonly #listings = new Map<string, { readonly names: string[]; readonly atMs: number }>()

  constructor(shared: SharedFiles, name: string, time: ClientTime) {
    this.#shared = shared
    this.#name = name
    this.#time = time
  }

  async open(path: string, flags: 'r' | 'plain' | 'wx'): Promise<OpenFile> {
    await this.#call()
    const { files, directories } = this.#shared
    if (flags !== 'wx') {
      if (directories.has(path)) return this.#handle(path, undefined)
      const inode = files.get(path)
      if (inode === undefined) throw this.#shared.fail('ENOENT', path)
      return this.#handle(path, inode)
    }
    this.#mayFail(path)
    if (files.has(path)) throw this.#shared.fail('EEXIST', path)
    if (!directories.has(parentOf(path))) throw this.#shared.fail('ENOENT', path)
    const inode: Inode = {
      bytes: new Uint8Array(0),
      length: 0,
      partialUntilMs: 0,
      refused: undefined,
      writer: this.#name,
    }
    files.set(path, inode)
    return this.#handle(path, inode)
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#call()
    this.#mayFail(to)
    const { files, choices, conditions } = this.#shared
    const inode = files.get(from)
    if (inode === undefined) throw this.#shared.fail('ENOENT', from)
    files.delete(from)
    files.set(to, inode)
    if (this.#chance(conditions.partial, 'partial'))
      inode.partialUntilMs = this.#time.monotonic() + choices.between(1, partialMs)
    this.#shared.onChange(to)
    if (this.#chance(conditions.lostReply, 'lost-reply')) throw this.#shared.fail('EIO', to)
  }

  async unlink(path: string): Promise<void> {
    await this.#call()
    this.#mayFail(path)
    if (!this.#shared.files.delete(path)) throw this.#shared.fail('ENOENT', path)
    this.#shared.onChange(path)
  }

  async readdir(path: string): Promise<string[]> {
    await this.#call()
    const nowMs = this.#time.monotonic()
    const { conditions } = this.#shared
    const seen = this.#listings.get(path)
    if (seen !== undefined && nowMs - seen.atMs < conditions.staleMs) {
      const now = this.#shared.list(path)
      if (now.length !== seen.names.length || now.some((name, i) => name !== seen.names[i]))
        this.#shared.onFault('stale-listing')
      return [...seen.names]
    }
    if (!this.#shared.directories.has(path)) throw this.#shared.fail('ENOENT', path)
    const names = this.#shared.list(path)
    this.#listings.set(path, { names, atMs: nowMs })
    return names
  }

  async stat(path: string): Promise<FileFacts> {
    await this.#call()
    if (this.#shared.directories.has(path)) return factsOf(0, false)
    const inode = this.#shared.files.get(path)
    if (inode === undefined) throw this.#shared.fail('ENOENT', path)
    return factsOf(this.#bytesOf(inode).length, true)
  }

  async realpath(path: string): Promise<string> {
    await this.#call()
    return path
  }

  async mkdir(path: string): Promise<string | undefined> {
    await this.#call()
    const { directories } = this.#shared
    if (directories.has(path)) return undefined
    this.#mayFail(path)
    let first = path
    for (let above = path; !directories.has(above); above = parentOf(above)) {
      directories.add(above)
      first = above
    }
    return first
  }

  #handle(path: string, inode: Inode | undefined): OpenFile {
    let hasWritten = false
    const known = (): Inode => {
      if (inode === undefined) throw this.#shared.fail('EISDIR', path)
      return inode
    }
    return {
      read: async (into, offset, length, position) => {
        await this.#call()
        if (this.#chance(this.#shared.conditions.stale, 'stale-handle'))
          throw this.#shared.fail('ESTALE', path)
        const bytes = this.#bytesOf(known()).subarray(position, position + length)
        into.set(bytes, offset)
        return { bytesRead: bytes.length }
      },
      write: async (from, offset, length, position) => {
        await this.#call()
        this.#mayFail(path)
        const file = known()
        hasWritten = true
        if (file.bytes.length < position + length) {
          const grown = new Uint8Array(Math.max(position + length, 2 * file.bytes.length))
          grown.set(file.bytes)
          file.bytes = grown
        }
        file.bytes.set(from.subarray(offset, offset + length), position)
        file.length = Math.max(file.length, position + length)
        return { bytesWritten: length }
      },
      sync: async () => {
        await this.#call()
        if (hasWritten) this.#mayFail(path)
      },
      close: async () => {
        // Of what was only read nobody asks the server.
        if (!hasWritten) return
        await this.#call()
        if (!this.#chance(this.#shared.conditions.closeFailure, 'close-failure')) return
        // The server has only a part of it; who wrote it still sees his own pages.
        const file = known()
        const whole = file.bytes.slice(0, file.length)
        file.refused = { client: this.#name, bytes: whole }
        file.length = Math.floor(whole.length / 2)
        throw this.#shared.fail('EIO', path)
      },
      // Comes with the reply to `open`, or to the last call.
      stat: async () => {
        return inode === undefined ? factsOf(0, false) : factsOf(this.#bytesOf(inode).length, true)
      },
    }
  }

  #bytesOf(inode: Inode): Uint8Array {
    if (inode.refused?.client === this.#name) return inode.refused.bytes
    const isPartial = inode.writer !== this.#name && this.#time.monotonic() < inode.partialUntilMs
    return inode.bytes.subarray(0, isPartial ? Math.floor(inode.length / 2) : inode.length)
  }

  #call(): Promise<void> {
    const { least, most } = this.#shared.conditions.callMs
    return this.#time.wait(this.#shared.choices.between(least, most))
  }

  #mayFail(path: string): void {
    const { conditions, choices } = this.#shared
    if (!this.#chance(conditions.failure, 'failure')) return
    throw this.#shared.fail(choices.pick(['ENOSPC', 'EDQUOT', 'EIO']), path)
  }

  #chance(probability: number, fault: SharedFault): boolean {
    if (probability === 0 || !this.#shared.choices.chance(probability)) return false
    this.#shared.onFault(fault)
    return true
  }
}

function factsOf(size: number, isFile: boolean): FileFacts {
  return { size, isFile: () => isFile, isDirectory: () => !isFile }
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/'
}
