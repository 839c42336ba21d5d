/** Changes rows behind a storage's back. */
import { join } from 'node:path'
import { open } from 'lmdb'
import { toHex } from '../../src/base/bytes.ts'
import { lookAtDataFile } from '../../src/storage/data-file.ts'
import { environmentFolders } from '../../src/storage/directory.ts'
import { bootOf, writeOpeningRecord } from '../../src/storage/opening-record.ts'

/** Changes one row, by its key or the first; `undefined` removes it. The storage must be closed, and is then as after a kill: nothing tells of it. */
export async function editRow(
  directory: string,
  database: string,
  key: Uint8Array | undefined,
  change: (row: Uint8Array) => Uint8Array | undefined,
): Promise<void> {
  const root = open<Uint8Array, Uint8Array>({
    path: join(directory, database === 'index' ? 'index' : 'lmdb'),
    encoding: 'binary',
    keyEncoding: 'binary',
    maxDbs: 16,
  })
  const rows = root.openDB<Uint8Array, Uint8Array>({
    name: database,
    encoding: 'binary',
    keyEncoding: 'binary',
  })
  const place =
    key ?? Uint8Array.from([...rows.getKeys({ start: Uint8Array.of(5), limit: 1 })][0] as Uint8Array)
  const row = rows.getBinary(place)
  if (row === undefined) throw new Error(`no row ${toHex(place)} in ${database}`)
  const changed = change(Uint8Array.from(row))
  if (changed === undefined) rows.removeSync(place)
  else rows.putSync(place, changed)
  await root.close()
  recordAs(directory, 'open')
}

/** Makes a directory look as if it was closed, or its process killed (`open`), just now: it is opened without being verified. */
export function recordAs(directory: string, phase: 'open' | 'closed'): void {
  const files = Object.fromEntries(
    environmentFolders.map((folder) => [folder, lookAtDataFile(join(directory, folder))?.stamp]),
  )
  writeOpeningRecord(directory, { phase, boot: bootOf(), files })
}

/** Changes one bit at the end of a row. */
export function flipRow(directory: string, database: string, key: Uint8Array | undefined): Promise<void> {
  return editRow(directory, database, key, (row) => {
    row[row.length - 1] = (row[row.length - 1] as number) ^ 4
    return row
  })
}
