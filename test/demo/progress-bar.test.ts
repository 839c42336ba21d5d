/** The demo's bar: drawn over on a terminal, a line every tenth elsewhere. */
import { expect, test } from 'vitest'
import { formatStanding, ProgressBar } from '../../examples/flights/progress-bar.js'

const standing = { done: 0, total: 20, rows: 0, alive: 4, workers: 4 }

test('a standing is one line', () => {
  const line = formatStanding({ ...standing, done: 10, alive: 3 }, 123_456.7)
  expect(line).toBe(`${'█'.repeat(15)}${'░'.repeat(15)} 10/20 partitions    123,457 rows/s  3/4 workers`)
})

test('on a terminal the line is drawn over, and a sentence stands above it', () => {
  const output = recorder(true)
  const bar = new ProgressBar(output)
  bar.show(standing, 0)
  bar.show({ ...standing, done: 1 }, 100)
  bar.say('something happened')
  bar.show({ ...standing, done: 2 }, 200)
  bar.end()
  const [first, second, sentence, third, end] = output.texts
  expect([first, second, third].every((text) => text?.startsWith('\r') && !text.includes('\n'))).toBe(true)
  expect([sentence, end]).toEqual(['\r\u001B[Ksomething happened\n', '\n'])
})

test('elsewhere there is a line every tenth', () => {
  const output = recorder(false)
  const bar = new ProgressBar(output)
  for (let done = 0; done <= 20; done++) bar.show({ ...standing, done }, done)
  bar.end()
  expect(output.texts).toHaveLength(11)
})

test('the rate is that of the last seconds', () => {
  const output = recorder(false)
  const bar = new ProgressBar(output)
  bar.show(standing, 0)
  bar.show({ ...standing, done: 2, rows: 1_000 }, 10_000)
  bar.show({ ...standing, done: 4, rows: 3_000 }, 11_000)
  bar.show({ ...standing, done: 6, rows: 3_000 }, 14_000)
  expect(output.texts.map((text) => /(\S+) rows/.exec(text)?.[1])).toEqual(['0', '100', '273', '0'])
})

test('without an output nothing happens', () => {
  const bar = new ProgressBar(undefined)
  expect(() => {
    bar.show(standing, 0)
    bar.say('unheard')
    bar.end()
  }).not.toThrow()
})

function recorder(isTTY: boolean) {
  const texts: string[] = []
  return { isTTY, texts, write: (text: string) => texts.push(text) }
}
