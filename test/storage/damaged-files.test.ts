/**
 * Data files damaged at random: flipped bits, zeroed pages, pages of elsewhere, cut ends. The process survives each, what is read is right or an
 * error, and what is written afterwards is kept. `DAMAGED_FILES` says how many; 300 take about two minutes.
 */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { toHex } from '../../src/base/bytes.ts'
import { seededRandom } from '../../src/base/random.ts'
import type { Change } from '../../src/model/shard-document.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { recordAs } from './damaging.ts'
import { cellFor, History, liveCell, placeOf, shards } from './history.ts'
import { openAt, temporaryDirectory } from './places.ts'

const files = Number(process.env['DAMAGED_FILES'] ?? 60)
const history = new History(7)
const whole = temporaryDirectory()
const outcomes = { sound: 0, quarantined: 0 }
let refusals = 0
const pageBytes = 4_096

beforeAll(async () => {
  // Several openings: pages become free, and are used again.
  for (let opening = 0; opening < 3; opening++) {
    const storage = await openAt(whole)
    for (let i = 0; i < 150; i++) {
      storage.commit(history.next())
      if (i % 25 === 0) await storage.flush()
    }
    await storage.close()
  }
})

const kinds: Record<string, (bytes: Buffer, random: () => number) => Buffer> = {
  'a flipped bit': (bytes, random) => {
    const at = Math.floor(random() * bytes.length)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random() * 8))
    return bytes
  },
  'flipped bits of a meta page': (bytes, random) => {
    const start = Math.floor(random() * 2) * pageBytes
    for (let i = 0; i < 3; i++) {
      const at = start + Math.floor(random() * 176)
      bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random() * 8))
    }
    return bytes
  },
  'many flipped bits': (bytes, random) => {
    for (let i = 0; i < 64; i++) kinds['a flipped bit']?.(bytes, random)
    return bytes
  },
  'a zeroed page': (bytes, random) => {
    const page = Math.floor((random() * bytes.length) / pageBytes)
    return bytes.fill(0, page * pageBytes, (page + 1) * pageBytes)
  },
  'a page of elsewhere': (bytes, random) => {
    const pages = bytes.length / pageBytes
    const [from, to] = [Math.floor(random() * pages), Math.floor(random() * pages)]
    bytes.copyWithin(to * pageBytes, from * pageBytes, (from + 1) * pageBytes)
    return bytes
  },
  'random bytes': (bytes, random) => {
    const start = Math.floor(random() * bytes.length)
    for (let i = start; i < Math.min(start + 512, bytes.length); i++) bytes[i] = Math.floor(random() * 256)
    return bytes
  },
  'a cut end': (bytes, random) => bytes.subarray(0, Math.floor(random() * bytes.length)),
}

test.each(Array.from({ length: files }, (_, i) => i))('damaged file %i', async (number) => {
  const random = seededRandom(1_000 + number)
  const names = Object.keys(kinds)
  const kind = names[number % names.length] ?? ''
  const directory = temporaryDirectory()
  cpSync(whole, directory, { recursive: true })
  recordAs(directory, 'closed')
  // The index is made anew from the log: with it nothing is lost.
  const folder = number % 3 === 2 ? 'index' : 'lmdb'
  const path = join(directory, folder, 'data.mdb')
  writeFileSync(path, kinds[kind]?.(readFileSync(path), () => random.fraction()) ?? '')

  let quarantined = false
  const storage = await openAt(directory, { onQuarantined: () => (quarantined = true) })
  const read = readAll(storage)
  // Wrong is also nothing, where nothing is said.
  expect(quarantined ? storage.shards().size : read.wrong).toEqual(quarantined ? 0 : [])
  expect([folder, quarantined]).not.toEqual(['index', true])
  outcomes[quarantined ? 'quarantined' : 'sound']++
  refusals += read.refused

  for (let i = 0; i < 20; i++) {
    storage.commit([writing(storage, i)])
    if (i % 5 === 0) await storage.flush()
  }
  await storage.close()
  const again = await openAt(directory, {
    onQuarantined: ({ reason }) => expect.unreachable(`damaged again: ${reason}`),
  })
  for (let i = 0; i < 20; i++) expect(again.cells(placeOf(['after', i]))).toHaveLength(1)
  await again.close()
})

test('damage is found at opening', () => {
  // A third of the files are indexes, and much of the other damage hits pages that hold nothing: then every value was right.
  expect(outcomes.quarantined).toBeGreaterThan(files / 5)
  // All of it: where there is a cause to verify, nothing is left for a reader to meet.
  expect(refusals).toBe(0)
})

/** What is read and not as the model has it, and how often reading was refused. */
function readAll(storage: Storage): { readonly wrong: string[]; readonly refused: number } {
  const wrong: string[] = []
  let refused = 0
  for (const [place, expected] of history.model.index()) {
    try {
      const cells = storage.cells(Buffer.from(place, 'hex'))
      const found = cells.map(({ shard, incarnation, clock }) => `${shard} ${incarnation} ${clock}`)
      const contents = new Set(cells.map(({ content }) => toHex(content)))
      const isRight =
        found.length === expected.length && [...contents].every((hex) => contentsOfModel().has(hex))
      if (!isRight) wrong.push(place)
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'DIRECTORY_DAMAGED') throw error
      refused++
    }
  }
  return { wrong, refused }
}

let known: Set<string> | undefined

function contentsOfModel(): Set<string> {
  known ??= new Set(
    shards.flatMap((shard) => history.model.cellsOf(shard).map(({ content }) => toHex(content))),
  )
  return known
}

function writing(storage: Storage, i: number): Change {
  const incarnation = 4_711
  const from = storage.view(shards[0]).clocks.get(incarnation) ?? 0
  const born = [liveCell(incarnation, from, cellFor(['after', i], 'x'.repeat(i * 100)))]
  return { shard: shards[0], advanced: [{ incarnation, from, to: from + 1 }], born, died: [] }
}
