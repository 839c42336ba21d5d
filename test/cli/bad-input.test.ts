/** Whatever is wrong with what a command is given: exit code, error code, one sentence, one hint, and no result. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Cairn, jsonLines, type Run } from './cairn.ts'
import { checkpoint, damage, Folder, makeNewer } from './snapshots.ts'

const folder = new Folder()
let cairn: Cairn

beforeAll(async () => {
  cairn = await Cairn.build()
  const sound = await checkpoint(folder.at('checkpoints'), 'rank-1', [[['a'], 1]])
  writeFileSync(folder.at('sound'), readFileSync(sound))
  damage(sound, folder.at('damaged'), 20)
  const other = await checkpoint(folder.at('others'), 'rank-2', [[['b'], 2]])
  damage(other, folder.at('damaged-other'), 20)
  makeNewer(sound, folder.at('newer'))
  writeFileSync(folder.at('cut'), readFileSync(sound).subarray(0, -1))
  writeFileSync(folder.at('empty'), '')
  writeFileSync(
    folder.at('text'),
    'This is no snapshot, but a text that is long enough to be one. '.repeat(10),
  )
  mkdirSync(folder.at('nothing'))
})

afterAll(() => {
  cairn.remove()
  folder.remove()
})

/** Words separated by spaces; exit code; error code. */
const table: readonly (readonly [words: string, code: number, error: string])[] = [
  ['', 1, 'USAGE'],
  ['--unknown', 1, 'USAGE'],
  ['unknown', 1, 'USAGE'],
  ['help unknown', 1, 'USAGE'],
  ['merge', 1, 'USAGE'],
  ['merge out', 1, 'USAGE'],
  ['merge out sound --unknown', 1, 'USAGE'],
  ['merge out sound --overwrite=yes', 1, 'USAGE'],
  ['verify', 1, 'USAGE'],
  ['verify sound sound', 1, 'USAGE'],
  ['keys', 1, 'USAGE'],
  ['keys sound a b', 1, 'USAGE'],
  ['get sound', 1, 'USAGE'],
  ['get sound a b', 1, 'USAGE'],
  ['entries', 1, 'USAGE'],
  ['entries sound a --strict', 1, 'USAGE'],

  ['get sound a//b', 1, 'KEY_INVALID'],
  ['get sound [1.5]', 1, 'KEY_INVALID'],
  ['get sound [', 1, 'KEY_INVALID'],
  ['get sound []', 1, 'KEY_INVALID'],
  [`get sound ${'a'.repeat(2000)}`, 1, 'KEY_INVALID'],
  ['keys sound "a', 1, 'KEY_INVALID'],
  ['entries sound 50%', 1, 'KEY_INVALID'],
  [`keys sound ${'a'.repeat(2000)}`, 1, 'KEY_INVALID'],

  ['verify missing', 2, 'SNAPSHOT_MISSING'],
  ['keys missing', 2, 'SNAPSHOT_MISSING'],
  ['get missing a', 2, 'SNAPSHOT_MISSING'],
  ['entries missing', 2, 'SNAPSHOT_MISSING'],
  ['merge out missing', 2, 'SNAPSHOT_MISSING'],
  ['merge out nothing', 2, 'SNAPSHOT_MISSING'],
  ['keys nothing', 2, 'SNAPSHOT_MISSING'],
  ['keys missing/directory', 2, 'SNAPSHOT_MISSING'],

  ['get sound b', 2, 'NOT_FOUND'],

  ...['damaged', 'cut', 'empty', 'text'].flatMap((file): [string, number, string][] => [
    [`verify ${file}`, 4, 'SNAPSHOT_DAMAGED'],
    [`keys ${file}`, 4, 'SNAPSHOT_DAMAGED'],
    [`get ${file} a`, 4, 'SNAPSHOT_DAMAGED'],
    [`entries ${file}`, 4, 'SNAPSHOT_DAMAGED'],
  ]),
  ...['cut', 'empty', 'text'].map((file): [string, number, string] => [
    `merge out ${file}`,
    4,
    'SNAPSHOT_DAMAGED',
  ]),
  ['merge out sound damaged-other --strict', 4, 'SNAPSHOT_DAMAGED'],
  ['verify nothing', 4, 'SNAPSHOT_DAMAGED'],
  ...['verify newer', 'keys newer', 'get newer a', 'entries newer', 'merge out newer'].map(
    (words): [string, number, string] => [words, 4, 'FORMAT_NEWER'],
  ),
  ['merge missing/out sound', 4, 'NOT_DURABLE'],

  ['merge damaged sound', 5, 'OUTPUT_EXISTS'],
  ['merge sound sound --overwrite', 1, 'OPTION_INVALID'],
]

test.each(table)('cairn %s ends with %i, and %s as JSON', async (words, code, error) => {
  const run = await runWords(`${words} --json`)
  expect({ code: run.code, error: jsonLines(run.stderr) }).toEqual({
    code,
    error: [{ error: { code: error, message: aSentence, hint: aSentence } }],
  })
  expect(run.stdout).toMatch(resultOf(words))
})

const firstOfEachError = table.filter(
  ([, , error], row) => row === table.findIndex((other) => other[2] === error),
)

test.each(firstOfEachError)('cairn %s ends with %i, and a sentence and a hint', async (words, code) => {
  const run = await runWords(words)
  expect(run.code).toBe(code)
  expect(run.stderr).toMatch(/^cairn: .+\.\nhint: .+[.)]\n$/)
  expect(run.stdout).toMatch(resultOf(words))
})

test('a suggestion is part of the hint', async () => {
  const run = await cairn.run(['mrge'])
  expect(run.stderr).toBe(
    "cairn: Unknown command 'mrge'.\nhint: Did you mean merge? cairn --help lists the commands.\n",
  )
})

test('a path cannot break the line, nor move the cursor', async () => {
  const run = await cairn.run(['keys', 'a\n\u001b[2Jb'])
  expect(run.stderr.split('\n')).toHaveLength(3)
  expect(run.stderr).not.toContain('\u001b')
})

test('what follows -- is never an option', async () => {
  const run = await cairn.run(['keys', '--', '--json'], { cwd: folder.path })
  expect(run).toMatchObject({ code: 2, stderr: expect.stringMatching(/^cairn: /) as string })
})

/** Damage is what `verify` is asked for; everything else has no result. */
function resultOf(words: string): RegExp {
  return /^verify (damaged|cut|empty|text|nothing)$/.test(words) ? /damaged|"ok":false/ : /^$/
}

function runWords(words: string): Promise<Run> {
  const list = words.split(' ').filter((word) => word !== '')
  return cairn.run(list, { cwd: folder.path })
}

const aSentence = expect.stringMatching(/^\S.*[.)]$/s) as string
