/**
 * `verify-directory DIRECTORY own|read`, a program of its own: opens the LMDB folders of a directory and reads every page and every row; to read it,
 * only the log. It runs in a process of its own because LMDB dies of damaged files (SIGBUS, SIGSEGV) where other code throws. `verifier.ts`
 * starts it and reads its lines: `begun`, `folder NAME` before each, a dot now and then, then the verdict as JSON.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { ContextStoreError } from '../errors.ts'
import { lookAtDataFile } from './data-file.ts'
import { checkPages } from './data-pages.ts'
import { environmentFolders, logFolder } from './directory.ts'
import {
  dataFileName,
  openEnvironment,
  openTable,
  isDamageOfLmdb,
  tableNames,
  transactionOf,
  walkRows,
  type LmdbEnvironment,
} from './lmdb.ts'
import { metaKey, openRow } from './lmdb-rows.ts'
import { decodeMeta } from './meta-row.ts'
import type { Verdict } from './verifier.ts'

const rowsPerDot = 100_000

say('begun')
const [, , directory = '', purpose = ''] = process.argv
say(JSON.stringify(verifyAll()))

function verifyAll(): Verdict {
  for (const folder of purpose === 'read' ? [logFolder] : environmentFolders) {
    const path = join(directory, folder)
    if (lookAtDataFile(path) === undefined) continue
    say(`folder ${folder}`)
    try {
      const environment = openEnvironment(path, { readOnly: true })
      if (folder === logFolder) checkFormat(environment)
      verify(environment, join(path, dataFileName))
    } catch (error) {
      if (isOfSystem(error)) throw error
      if (error instanceof ContextStoreError && error.code !== 'DIRECTORY_DAMAGED') {
        const { code, message, hint } = error
        return { kind: 'refused', code, message, hint }
      }
      return { kind: 'damaged', folder, reason: describe(error) }
    }
  }
  return { kind: 'sound' }
}

/** Rows of a later format need not be as ours: it is asked for before they are. */
function checkFormat(environment: LmdbEnvironment): void {
  if (!tableNames(environment).includes('meta')) return
  const row = openTable(environment, 'meta').get(metaKey)
  if (row !== undefined) decodeMeta(row, directory)
}

function verify(environment: LmdbEnvironment, path: string): void {
  const file = openSync(path, 'r')
  checkPages(file, transactionOf(environment))
  let rows = 0
  walkRows(environment, (table, value) => {
    openRow(value, table)
    if (++rows % rowsPerDot === 0) say('.')
  })
  closeSync(file)
}

/** A missing permission or descriptor; everything else, also reading beyond the end of a page, is the file's fault. */
function isOfSystem(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown }
  if (error instanceof ContextStoreError || error instanceof RangeError) return false
  return code !== undefined && !isDamageOfLmdb(error)
}

function describe(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replaceAll('\n', ' ')
}

/** At once, and in order: what is said must be out before LMDB dies. */
function say(line: string): void {
  writeSync(1, `${line}\n`)
}
