/** Directories for storages of tests, gone when the tests of a file are through. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { silentLog } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { systemTime } from '../../src/base/time.ts'
import { openLmdbStorage, type LmdbStorageOptions } from '../../src/storage/lmdb-storage.ts'
import type { Storage } from '../../src/storage/storage.ts'

const directories: string[] = []

afterAll(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
})

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'cairn-test-'))
  directories.push(directory)
  return directory
}

export function openAt(directory: string, options: Partial<LmdbStorageOptions> = {}): Promise<Storage> {
  return openLmdbStorage({ directory, random: systemRandom, time: systemTime, log: silentLog, ...options })
}
