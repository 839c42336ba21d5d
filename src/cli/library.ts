/** The library: its public names and nothing else, loaded when a command runs. */
import type * as Library from '../index.ts'

/** Turns a value into what JSON can say. */
export type ToJson = typeof Library.toJson

export function loadLibrary(): Promise<typeof Library> {
  return import('../index.ts')
}
