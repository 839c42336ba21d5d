/** `cairn diff`: which keys differ between two snapshots. */
import type { Entry } from '../../index.ts'
import type { Call, CommandDescription } from '../command.ts'
import { entryJson, valueText, type EntryJson } from '../entry-text.ts'
import { compareKeys, formatKey, parsePrefix } from '../key-syntax.ts'
import { loadLibrary, type ToJson } from '../library.ts'
import { prefixOperand } from '../operands.ts'
import { readStores } from '../reading.ts'

const sideText = 'a snapshot file, a checkpoint directory, or the directory of a store'

export const diffCommand: CommandDescription = {
  name: 'diff',
  summary: 'show which keys differ between two snapshots',
  description:
    'Shows the keys whose values differ: "-" and the value that is in A, "+" and the value that is in B. Nothing is ' +
    'printed where all are equal; the exit code is 0 either way. Both are read side by side, in key order.',
  operands: [{ name: 'A', text: sideText }, { name: 'B', text: sideText }, prefixOperand],
  options: [],
  example: 'cairn diff one job42.cairn',
  run: runDiff,
}

async function runDiff(call: Call): Promise<void> {
  const [a = '', b = '', prefix = ''] = call.operands
  const parsed = parsePrefix(prefix)
  const { toJson } = await loadLibrary()
  const { output } = call
  await readStores([a, b], call, (left, right) => {
    const [befores, afters] = [
      left.entries(parsed)[Symbol.iterator](),
      right.entries(parsed)[Symbol.iterator](),
    ]
    let [before, after] = [befores.next(), afters.next()]
    while (output.isOpen && !(before.done === true && after.done === true)) {
      const order = compareEntries(before, after)
      show(call, order <= 0 ? before.value : undefined, order >= 0 ? after.value : undefined, toJson)
      if (order <= 0) before = befores.next()
      if (order >= 0) after = afters.next()
    }
  })
}

/** Which of two lists comes next: one that is at its end comes last. */
function compareEntries(a: IteratorResult<Entry, undefined>, b: IteratorResult<Entry, undefined>): number {
  if (a.done === true) return 1
  return b.done === true ? -1 : compareKeys(a.value.key, b.value.key)
}

function show(call: Call, before: Entry | undefined, after: Entry | undefined, toJson: ToJson): void {
  const [a, b] = [before, after].map((entry) => entry && entryJson(entry, toJson))
  const [was, is] = [a, b].map((entry) => entry && valueText(entry.value))
  const key = (a ?? b)?.key
  if (was === is || key === undefined) return
  const { output } = call
  if (output.isJson) {
    output.json({ key, ...side('a', a), ...side('b', b) })
    return
  }
  if (was !== undefined) output.line(`- ${formatKey(key)}  ${was}`)
  if (is !== undefined) output.line(`+ ${formatKey(key)}  ${is}`)
}

function side(name: 'a' | 'b', entry: EntryJson | undefined): object {
  if (entry === undefined) return {}
  const { value, worker, time } = entry
  return { [name]: { value, worker, time } }
}
