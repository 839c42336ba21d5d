/** What another process would find if the one that owns a directory were killed now. */
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { openStore, type Store } from '../../src/index.ts'
import { temporaryDirectory } from '../storage/places.ts'

/** Opens a copy of the files as they are on disk. Nothing may be on its way to them. */
export function reopenCopy(dir: string): Promise<Store> {
  const copy = join(temporaryDirectory(), 'copy')
  cpSync(dir, copy, {
    recursive: true,
    filter: (path) => !path.includes('owner') && !path.endsWith('lock.mdb'),
  })
  rmSync(join(copy, 'owner'), { recursive: true, force: true })
  return openStore({ dir: copy, worker: 'reader' })
}
