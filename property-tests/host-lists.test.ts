/**
 * Host lists: what the plainest possible writer makes of a set of hosts is read as that set. The writer knows nothing of the reader: it groups
 * names by what surrounds their last number, and joins consecutive numbers of the same width.
 */
import { test } from 'vitest'
import { expandHostList } from '../src/job/host-list.ts'
import { checkRuns, expectSame, patience } from './support/jobs.ts'

interface Host {
  readonly before: string
  readonly number: number
  readonly width: number
  readonly after: string
}

test('a list that is written is read as it was', patience, async () => {
  await checkRuns((choices) => {
    const hosts = Array.from({ length: choices.between(1, 40) }, (): Host => {
      const number = choices.below(choices.pick([3, 12, 120]))
      const width = choices.pick([1, 3])
      return { before: choices.pick(['n', 'node-', 'r7c']), number, width, after: choices.pick(['', '-ib0']) }
    })
    const names = [...new Set(hosts.map(nameOf))]
    expectSame(expandHostList(compressed(hosts)).toSorted(), names.toSorted())
    expectSame(expandHostList(choices.shuffle(names).join(',')).toSorted(), names.toSorted())
  })
})

function nameOf({ before, number, width, after }: Host): string {
  return `${before}${String(number).padStart(width, '0')}${after}`
}

function compressed(hosts: readonly Host[]): string {
  const groups = new Map<string, { host: Host; numbers: Map<number, Set<number>> }>()
  for (const host of hosts) {
    const digits = nameOf({ ...host, before: '', after: '' }).length
    const key = `${host.before} ${host.after}`
    const group = groups.get(key) ?? { host, numbers: new Map<number, Set<number>>() }
    groups.set(key, group)
    const numbers = group.numbers.get(digits) ?? new Set()
    group.numbers.set(digits, numbers.add(host.number))
  }
  return [...groups.values()]
    .map(({ host: { before, after }, numbers }) => {
      const ranges = [...numbers].flatMap(([digits, some]) => rangesOf([...some], digits))
      return `${before}[${ranges.join(',')}]${after}`
    })
    .join(',')
}

function rangesOf(numbers: readonly number[], digits: number): string[] {
  const ranges: [number, number][] = []
  for (const number of numbers.toSorted((a, b) => a - b)) {
    const last = ranges.at(-1)
    if (last !== undefined && last[1] === number - 1) last[1] = number
    else ranges.push([number, number])
  }
  const text = (number: number): string => String(number).padStart(digits, '0')
  return ranges.map(([from, to]) => (from === to ? text(from) : `${text(from)}-${text(to)}`))
}
