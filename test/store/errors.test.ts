/** `docs/ERRORS.md` lists every code there is, and no other; and every code is used. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ContextStoreError } from '../../src/errors.ts'

const root = join(import.meta.dirname, '..', '..')
const source = readFileSync(join(root, 'src', 'errors.ts'), 'utf8')
const declared = [...(/type ErrorCode =([^]*?)\n\n/.exec(source)?.[1] ?? '').matchAll(/'([A-Z_]+)'/g)].map(
  ([, code]) => code as string,
)
const rows = readFileSync(join(root, 'docs', 'ERRORS.md'), 'utf8')
  .split('\n')
  .filter((line) => /^\| `[A-Z_]+` \|/.test(line))
  .map((line) => line.split('|').map((column) => column.trim()))

describe('docs/ERRORS.md', () => {
  test('lists every code of the type, once, and no other', () => {
    expect(declared.length).toBeGreaterThan(15)
    expect(rows).toHaveLength(declared.length)
    expect(new Set(rows.map(([, code]) => code))).toEqual(new Set(declared.map((code) => `\`${code}\``)))
  })

  test('says of each what it means and what to do', () => {
    for (const [, code, ...columns] of rows) {
      const said = columns.filter((column) => column.length > 10)
      expect([code, said.length]).toEqual([code, columns.length - 1])
      expect(columns.length).toBeGreaterThanOrEqual(3)
    }
  })
})

test('every code is thrown somewhere', () => {
  const folder = join(root, 'src')
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && file !== 'errors.ts' && !file.startsWith('cli'),
  )
  const text = files.map((file) => readFileSync(join(folder, file), 'utf8')).join('\n')
  expect(declared.filter((code) => !text.includes(`'${code}'`))).toEqual([])
})

test('an error tells code, sentence, hint and cause', () => {
  const cause = new Error('below')
  const error = new ContextStoreError('NOT_DURABLE', 'It was not written.', 'Free space.', { cause })
  expect(error).toBeInstanceOf(Error)
  expect(error).toMatchObject({ name: 'ContextStoreError', code: 'NOT_DURABLE', hint: 'Free space.', cause })
  expect(String(error)).toBe('ContextStoreError: It was not written.')
})
