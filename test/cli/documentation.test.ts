/** `docs/CLI.md`, `--help`, the code and what is printed name the same commands, operands, options, codes and fields. */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commonOptions, type CommandDescription } from '../../src/cli/command.ts'
import { commands } from '../../src/cli/commands.ts'
import { exitCodeByFailure, exitCodeMeanings } from '../../src/cli/failures.ts'
import { exportSnapshot, mergeSnapshots, openStore } from '../../src/index.ts'
import { Cairn, jsonLines } from './cairn.ts'
import { checkpoint, damage, Folder } from './snapshots.ts'

const document = readFileSync(fileURLToPath(new URL('../../docs/CLI.md', import.meta.url)), 'utf8')
const folder = new Folder()
const helpOption = { flags: '-h, --help', text: 'print this help' }
let cairn: Cairn

beforeAll(async () => {
  cairn = await Cairn.build()
  const one = await checkpoint(folder.at('checkpoints'), 'rank-1', [
    [['shared'], 1],
    [['partition', 7, 'column', 'temp'], 20.5],
  ])
  const two = await checkpoint(folder.at('checkpoints'), 'rank-2', [[['shared'], 2]])
  await mergeSnapshots(folder.at('merged'), [one, two])
  writeFileSync(folder.at('one'), readFileSync(one))
  damage(two, folder.at('damaged'), 20)
  await exportSnapshot(folder.at('merged'), folder.at('job42.cells'), { format: 'cells' })
  await using store = await openStore({ dir: folder.at('store'), worker: 'rank-3' })
  store.set(['shared'], 3)
})

afterAll(() => {
  cairn.remove()
  folder.remove()
})

describe('the document', () => {
  test('has a chapter for each command, in the order of help', async () => {
    const chapters = [...document.matchAll(/^## cairn (\w+)$/gm)].map((match) => match[1])
    expect(chapters).toEqual(commands.map(({ name }) => name))
    const { stdout } = await cairn.run(['--help'])
    const listed = [...stdout.matchAll(/^ {2}(\w+) (?:\[options\] )?[<[]/gm)].map((match) => match[1])
    expect(listed).toEqual([...chapters, 'help'])
  })

  test('says what every command takes', () => {
    const general = chapterOf('In general')
    expect(tableOf(general, 'option')).toEqual([...commonOptions, helpOption].map(optionRow))
  })

  test('lists the exit codes that help lists', async () => {
    const meanings = Object.entries(exitCodeMeanings)
    expect(tableOf(chapterOf('In general'), 'code')).toEqual(meanings)
    const { stdout } = await cairn.run(['--help'])
    const listed = [...stdout.matchAll(/^ {2,3}(\d+) {2}(.*)$/gm)].map((match) => [match[1], match[2]])
    expect(listed).toEqual(meanings)
  })

  test('lists the exit code of every error', () => {
    const listed = tableOf(chapterOf('In general'), 'error code')
    expect(listed).toEqual(
      Object.entries(exitCodeByFailure).map(([code, exit]) => [`\`${code}\``, String(exit)]),
    )
  })
})

describe.each(commands)('cairn $name', (command) => {
  const chapter = chapterOf(`cairn ${command.name}`)

  test('is documented with its operands and options', () => {
    expect(tableOf(chapter, 'operand')).toEqual(
      command.operands.map(({ name, text }) => [`\`${name}\``, text]),
    )
    const own = command.options.filter((option) => !commonOptions.includes(option))
    expect(tableOf(chapter, 'option')).toEqual(own.map(optionRow))
    expect(unwrapped(chapter)).toContain(command.description)
    expect(chapter).toContain(`\n${command.example}\n`)
  })

  test('says the same in its help', async () => {
    const { code, stdout, stderr } = await cairn.run([command.name, '--help'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const usage = usageOf(command)
    expect(stdout.split('\n')[0]).toBe(`Usage: ${usage}`)
    expect(chapter).toContain(`\n${usage}\n`)
    const flags = [...stdout.matchAll(/^ {2}(-.*?)(?: {2}|$)/gm)].map((match) => match[1])
    expect(flags).toEqual([...command.options, helpOption].map((option) => option.flags))
    for (const { text } of [...command.operands, ...command.options, { text: command.description }]) {
      expect(unwrapped(stdout)).toContain(text)
    }
    expect(stdout).toContain(`\nExample:\n  ${command.example}\n`)
    expect(await cairn.run(['help', command.name])).toEqual({ code, stdout, stderr })
  })
})

test('the examples work, one after the other', async () => {
  writeFileSync(folder.at('simulation'), '#!/bin/sh\necho simulated\n', { mode: 0o755 })
  const environment = { CAIRN_SCRATCH: folder.path, CAIRN_JOB: '42' }
  for (const { example } of commands) {
    const run = await cairn.run(example.split(' ').slice(1), { cwd: folder.path, environment })
    // An agent logs there what it should be known of the place that it was given.
    const stderr = run.stderr.replaceAll(/^\{"time".*"level":"info".*\n/gm, '')
    expect({ example, code: run.code, stderr }).toEqual({ example, code: 0, stderr: '' })
    expect(run.stdout).not.toBe('')
  }
})

describe('fields', () => {
  test.each([
    ['merge', ['out', 'merged', 'damaged', '--report']],
    ['verify', ['merged']],
    ['verify', ['damaged']],
    ['keys', ['merged']],
    ['get', ['merged', 'shared']],
    ['entries', ['merged']],
    ['export', ['merged', 'out.csv']],
    ['import', ['job42.cells', 'fields.cairn']],
    ['info', ['merged']],
    ['diff', ['one', 'merged']],
    ['status', ['store']],
    ['restore', ['--dry-run', 'checkpoints']],
    ['doctor', []],
  ])('of %s are documented', async (name, operands) => {
    const { stdout } = await cairn.run([name, '--json', ...operands], { cwd: folder.path })
    const [printed] = jsonLines(stdout) as Record<string, unknown>[]
    const listed = tableOf(chapterOf(`cairn ${name}`), 'field')
    expect(Object.keys(printed ?? {}).map((field) => `\`${field}\``)).toEqual(listed.map(([field]) => field))
  })

  test.each([
    ['merge', ['parts', 'one', 'damaged'], 'skipped'],
    ['get', ['merged', 'shared'], 'conflicts'],
    ['info', ['merged'], 'shards'],
    ['status', ['store'], 'shards'],
    ['restore', ['--dry-run', 'checkpoints'], 'checkpoints'],
  ])('of %s within lists are documented', async (name, operands, field) => {
    const { stdout } = await cairn.run([name, '--json', ...operands], { cwd: folder.path })
    const [printed] = jsonLines(stdout) as Record<string, Record<string, unknown>[]>[]
    const [, meaning = ''] =
      tableOf(chapterOf(`cairn ${name}`), 'field').find(([cell]) => cell === `\`${field}\``) ?? []
    const inner = [...meaning.matchAll(/`(\w+)`/g)].map((match) => match[1])
    expect(Object.keys(printed?.[field]?.[0] ?? {})).toEqual(inner)
  })
})

function optionRow({ flags, text }: { readonly flags: string; readonly text: string }): string[] {
  return [`\`${flags}\``, text]
}

function usageOf({ name, operands }: CommandDescription): string {
  const names = operands.map((operand) => (operand.name.startsWith('[') ? operand.name : `<${operand.name}>`))
  return ['cairn', name, '[options]', ...names].join(' ')
}

function chapterOf(title: string): string {
  const chapters = document.split(/^## /m)
  const found = chapters.find((chapter) => chapter.startsWith(`${title}\n`))
  if (found === undefined) throw new Error(`docs/CLI.md has no chapter "${title}"`)
  return found
}

/** Rows of the table whose first column has this title; none where there is no such table. */
function tableOf(chapter: string, title: string): string[][] {
  const lines = chapter.split('\n')
  const start = lines.findIndex((line) => cellsOf(line)[0] === title)
  if (start === -1) return []
  const rest = lines.slice(start + 2)
  const end = rest.findIndex((line) => !line.startsWith('|'))
  return rest.slice(0, end === -1 ? rest.length : end).map(cellsOf)
}

function cellsOf(line: string): string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())
}

function unwrapped(text: string): string {
  return text.replaceAll(/\s+/g, ' ')
}
