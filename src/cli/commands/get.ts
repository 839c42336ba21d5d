/** `cairn get`: one value, and what is known of it. */
import type { Call, CommandDescription } from '../command.ts'
import { entryFacts, entryJson } from '../entry-text.ts'
import { CommandError } from '../failures.ts'
import { formatKey, parseKey } from '../key-syntax.ts'
import { loadLibrary } from '../library.ts'
import { keyOperand, pathOperand } from '../operands.ts'
import { readStore } from '../reading.ts'
import { formatFacts } from '../text.ts'

export const getCommand: CommandDescription = {
  name: 'get',
  summary: 'show the value of a key, who wrote it and when',
  description:
    'Shows the value of a key, who wrote it, when, and values that others wrote without having seen it. Where the ' +
    'key holds nothing the exit code is 2.',
  operands: [pathOperand, keyOperand],
  options: [],
  example: 'cairn get job42.cairn partition/7/column/temp',
  run: runGet,
}

async function runGet(call: Call): Promise<void> {
  const [path = '', text = ''] = call.operands
  const key = parseKey(text)
  const { toJson } = await loadLibrary()
  const { output } = call
  await readStore(path, call, (store) => {
    const entry = store.entry(key)
    if (entry === undefined) {
      throw new CommandError(
        'NOT_FOUND',
        `The key ${formatKey(key)} holds nothing in "${path}".`,
        'List what there is with `cairn keys`; 7 is a number, "7" a string.',
      )
    }
    const json = entryJson(entry, toJson)
    if (output.isJson) output.json(json)
    else for (const line of formatFacts(entryFacts(json))) output.line(line)
  })
}
