/** `cairn keys`: which keys there are. */
import type { Call, CommandDescription } from '../command.ts'
import { formatKey, parsePrefix } from '../key-syntax.ts'
import { pathOperand, prefixOperand } from '../operands.ts'
import { readStore } from '../reading.ts'

export const keysCommand: CommandDescription = {
  name: 'keys',
  summary: 'list keys',
  description:
    'Lists the keys that begin with PREFIX, in key order, one a line, in the short form that the other commands ' +
    'take.',
  operands: [pathOperand, prefixOperand],
  options: [],
  example: 'cairn keys job42.cairn partition/7',
  run: runKeys,
}

async function runKeys(call: Call): Promise<void> {
  const [path = '', prefix = ''] = call.operands
  const parsed = parsePrefix(prefix)
  const { output } = call
  await readStore(path, call, (store) => {
    for (const key of store.keys(parsed)) {
      if (!output.isOpen) return
      if (output.isJson) output.json({ key })
      else output.line(formatKey(key))
    }
  })
}
