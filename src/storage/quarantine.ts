/** Quarantine: where the LMDB folders of a damaged directory are moved, so that it can be opened anew and nothing is thrown away. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { environmentFolders } from './directory.ts'

const folderName = 'quarantine'
/** Older ones are removed: damage that comes again must not fill the disk. */
const keptMax = 2

/** What was done with a damaged directory. */
export interface Quarantine {
  /** What was wrong. */
  readonly reason: string
  /** Where the damaged files are now. */
  readonly path: string
}

/** Moves the folders of a directory aside. Returns where they are now. */
export async function moveAside(directory: string, now: number): Promise<string> {
  const above = join(directory, folderName)
  await mkdir(above, { recursive: true, mode: 0o700 })
  const path = await makeFolder(above, new Date(now).toISOString().replaceAll(/[-:.]/g, ''))
  for (const folder of environmentFolders) {
    if (existsSync(join(directory, folder))) await rename(join(directory, folder), join(path, folder))
  }
  const older = (await readdir(above)).sort().slice(0, -keptMax)
  for (const name of older) await rm(join(above, name), { recursive: true, force: true })
  return path
}

/** Where the clock was set back, or stands, a later one gets a later name all the same. */
async function makeFolder(above: string, time: string): Promise<string> {
  const newest = (await readdir(above)).sort().at(-1) ?? ''
  for (let count = 0; ; count++) {
    const name = `${newest > time ? newest.slice(0, time.length) : time}-${String(count).padStart(3, '0')}`
    if (name <= newest) continue
    await mkdir(join(above, name), { mode: 0o700 })
    return join(above, name)
  }
}
