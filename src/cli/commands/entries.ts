/** `cairn entries`: keys with their values. */
import type { Call, CommandDescription } from '../command.ts'
import { entryJson, valueText, type EntryJson } from '../entry-text.ts'
import { formatKey, parsePrefix } from '../key-syntax.ts'
import { loadLibrary } from '../library.ts'
import type { Output } from '../output.ts'
import { pathOperand, prefixOperand } from '../operands.ts'
import { readStore } from '../reading.ts'
import { printable, shorten } from '../text.ts'

export const entriesCommand: CommandDescription = {
  name: 'entries',
  summary: 'list keys with their values',
  description:
    'Lists the keys that begin with PREFIX with worker, time and value, in key order. A "!" before the value means ' +
    'that there are conflicts, which `cairn get` shows. On a terminal values are cut to the width of the line.',
  operands: [pathOperand, prefixOperand],
  options: [],
  example: 'cairn entries --json job42.cairn partition/7',
  run: runEntries,
}

async function runEntries(call: Call): Promise<void> {
  const [path = '', prefix = ''] = call.operands
  const parsed = parsePrefix(prefix)
  const { toJson } = await loadLibrary()
  const { output } = call
  await readStore(path, call, (store) => {
    const table = new EntryTable(output)
    for (const entry of store.entries(parsed)) {
      if (!output.isOpen) return
      const json = entryJson(entry, toJson)
      if (output.isJson) output.json(json)
      else table.add(json)
    }
    table.print()
  })
}

/** Lines that are aligned a page at a time: the rest of a million is not waited for. */
const pageRows = 500
/** A longer key pushes its own line to the right, not all of them. */
const columnWidthMax = 60
const valueWidthMin = 20

class EntryTable {
  readonly #output: Output
  #page: EntryJson[] = []
  /** Of keys and workers. They only grow, so that pages line up as far as they can. */
  #widths: readonly [number, number] = [0, 0]

  constructor(output: Output) {
    this.#output = output
  }

  add(entry: EntryJson): void {
    this.#page.push(entry)
    if (this.#page.length === pageRows) this.print()
  }

  print(): void {
    const rows = this.#page.map((entry) => [formatKey(entry.key), printable(entry.worker), entry] as const)
    this.#page = []
    for (const [key, worker] of rows) {
      const [keyWidth, workerWidth] = this.#widths
      this.#widths = [widest(keyWidth, key), widest(workerWidth, worker)]
    }
    const [keyWidth, workerWidth] = this.#widths
    for (const [key, worker, { time, value, conflicts }] of rows) {
      const mark = conflicts.length === 0 ? ' ' : '!'
      const head = `${key.padEnd(keyWidth)}  ${worker.padEnd(workerWidth)}  ${time} ${mark}`
      this.#output.line(head + this.#fit(valueText(value), head.length))
    }
  }

  #fit(value: string, used: number): string {
    const { columns } = this.#output
    return columns === undefined ? value : shorten(value, Math.max(valueWidthMin, columns - used))
  }
}

function widest(width: number, text: string): number {
  return Math.max(width, Math.min(text.length, columnWidthMax))
}
