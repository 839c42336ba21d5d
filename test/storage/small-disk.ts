/** Disks that are soon full: small file systems in memory, where they may be mounted. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from './places.ts'

const mounted: string[] = []

/** False without the right to mount: then there is nothing to be tested. */
export const canMount = mount(temporaryDirectory(), 2) === undefined
unmountAll()

export interface SmallDisk {
  /** Where a store may be. */
  readonly place: string
  /** A file that takes up a third of the disk. */
  readonly filler: string
}

/** @param pages by how many pages the filler is larger than a third: so that space ends at another point of a write */
export function mountSmallDisk(megabytes: number, pages = 0): SmallDisk {
  const disk = temporaryDirectory()
  const problem = mount(disk, megabytes)
  if (problem !== undefined) throw new Error(problem)
  const place = join(disk, 'store')
  mkdirSync(place)
  const filler = join(disk, 'filler')
  writeFileSync(filler, Buffer.alloc(Math.floor((megabytes * 1024 * 1024) / 3) + pages * 4_096, 1))
  return { place, filler }
}

/** Takes up what is left. */
export function fillUp({ filler }: SmallDisk): void {
  try {
    writeFileSync(`${filler}-more`, Buffer.alloc(16 * 1024 * 1024))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  }
}

export function unmountAll(): void {
  for (const directory of mounted.splice(0)) spawnSync('umount', ['-l', directory])
}

function mount(directory: string, megabytes: number): string | undefined {
  const options = ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', directory]
  const { status, stderr, error } = spawnSync('mount', options)
  if (status !== 0) return error?.message ?? String(stderr)
  mounted.push(directory)
  return undefined
}
