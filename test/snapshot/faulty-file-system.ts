/** The computer's file system, or another, with faults at chosen calls, and a record of the calls. */
import { basename } from 'node:path'
import { nodeFileSystem, type FileSystem, type OpenFile } from '../../src/base/file-system.ts'

export interface Call {
  /** From 0. */
  readonly index: number
  readonly name: string
  /** Last part of the path, random digits of temporary names replaced. */
  readonly file: string
}

export type Fault =
  /** The call fails and does nothing. */
  | { readonly kind: 'error'; readonly code: string }
  /** The call is done, and fails all the same. */
  | { readonly kind: 'lost-reply'; readonly code: string }
  /** The process is killed before the call: it fails, and so does every later one. A write is done by half. */
  | { readonly kind: 'killed' }

export class Killed extends Error {
  override readonly name = 'Killed'
}

export interface FaultyFileSystem extends FileSystem {
  readonly calls: readonly Call[]
  /** The most descriptors that were open at a time. */
  readonly openMost: () => number
  readonly openNow: () => number
}

export function faultyFileSystem(
  decide: (call: Call) => Fault | undefined = () => undefined,
  base: FileSystem = nodeFileSystem,
): FaultyFileSystem {
  const calls: Call[] = []
  let killed = false
  let openNow = 0
  let openMost = 0

  const step = async <T>(
    name: string,
    path: string,
    run: () => Promise<T>,
    half?: () => Promise<unknown>,
  ): Promise<T> => {
    if (killed) throw new Killed('killed')
    const call = { index: calls.length, name, file: basename(path).replace(/[0-9a-f]{16}(?=\.tmp)/, '*') }
    calls.push(call)
    const fault = decide(call)
    if (fault === undefined) return run()
    if (fault.kind === 'killed') {
      killed = true
      await half?.()
      throw new Killed('killed')
    }
    if (fault.kind === 'lost-reply') await run()
    throw Object.assign(new Error(`${fault.code}: injected, ${name} '${path}'`), { code: fault.code })
  }

  const wrap = (path: string, file: OpenFile): OpenFile => ({
    read: (into, offset, length, position) =>
      step('read', path, () => file.read(into, offset, length, position)),
    write: (from, offset, length, position) =>
      step(
        'write',
        path,
        () => file.write(from, offset, length, position),
        () => file.write(from, offset, Math.floor(length / 2), position),
      ),
    sync: () => step('sync', path, () => file.sync()),
    stat: () => step('fstat', path, () => file.stat()),
    close: async () => {
      // Whatever is told, the descriptor is gone.
      openNow--
      await file.close()
      await step('close', path, async () => undefined)
    },
  })

  return {
    calls,
    openMost: () => openMost,
    openNow: () => openNow,
    open: (path, flags, mode) =>
      step(`open ${flags}`, path, async () => {
        const file = await base.open(path, flags, mode)
        openMost = Math.max(openMost, ++openNow)
        return wrap(path, file)
      }),
    rename: (from, to) => step('rename', to, () => base.rename(from, to)),
    unlink: (path) => step('unlink', path, () => base.unlink(path)),
    readdir: (path) => step('readdir', path, () => base.readdir(path)),
    stat: (path) => step('stat', path, () => base.stat(path)),
    realpath: (path) => step('realpath', path, () => base.realpath(path)),
    mkdir: (path, mode) => step('mkdir', path, () => base.mkdir(path, mode)),
  }
}
