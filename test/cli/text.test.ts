/** Text for people. */
import { expect, test } from 'vitest'
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatFacts,
  formatQuantity,
  printable,
  shorten,
} from '../../src/cli/text.ts'

test('sizes', () => {
  const sizes = [0, 999, 1000, 1_234_567, 999_949, 999_950, 2 ** 40].map(formatBytes)
  expect(sizes).toEqual([
    '0',
    '999',
    '1,000 (1.0 kB)',
    '1,234,567 (1.2 MB)',
    '999,949 (999.9 kB)',
    '999,950 (1.0 MB)',
    '1,099,511,627,776 (1.1 TB)',
  ])
})

test('durations', () => {
  const durations = [0, 59.4, 59.5, 200, 3_599, 7_500].map(formatDuration)
  expect(durations).toEqual(['0 s', '59 s', '1 min 0 s', '3 min 20 s', '59 min 59 s', '2 h 5 min'])
})

test('counts', () => {
  expect([0, 999, 1_234_567].map(formatCount)).toEqual(['0', '999', '1,234,567'])
  expect([0, 1, 2_000].map((count) => formatQuantity(count, 'input'))).toEqual([
    '0 inputs',
    '1 input',
    '2,000 inputs',
  ])
})

test('facts are aligned', () => {
  expect(
    formatFacts([
      ['key', 'a'],
      ['worker', 'b'],
    ]),
  ).toEqual(['key     a', 'worker  b'])
})

test('what a terminal would obey is shown instead', () => {
  expect(printable('a\u001b[2Jb\n\u009b\u202e\u{e0001}温')).toBe(
    'a\\u001b[2Jb\\u000a\\u009b\\u202e\\udb40\\udc01温',
  )
})

test('text without room is cut', () => {
  expect([shorten('abcdef', 6), shorten('abcdefg', 6), shorten('abcdefg', 2)]).toEqual([
    'abcdef',
    'abc...',
    '...',
  ])
})
