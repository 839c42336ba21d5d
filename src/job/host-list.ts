/**
 * Host lists as Slurm writes them: `node[001-003,7]-ib[0,2],login1`. Pure.
 *
 * A list is names, separated by commas. A name may hold brackets anywhere, each with numbers and ranges; every combination is a host, the last bracket counting
 * fastest. The first number of a range says how many digits its hosts have at least.
 */
import { ContextStoreError } from '../errors.ts'

/** Most hosts of a list. */
export const hostsMax = 65_536
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
const rangePattern = /^(\d{1,15})(?:-(\d{1,15}))?$/

/** All hosts, in the order of the list, repetitions included. Throws `OPTION_INVALID`. */
export function expandHostList(list: string): string[] {
  const hosts: string[] = []
  for (const name of splitNames(list)) {
    const found = expandName(name, list)
    if (hosts.length + found.length > hostsMax) throw invalid(list, `it has more than ${hostsMax} hosts`)
    hosts.push(...found)
  }
  for (const host of hosts) if (!namePattern.test(host)) throw invalid(list, `"${host}" is no host name`)
  return hosts
}

/** Commas within brackets separate ranges, not names. */
function splitNames(list: string): string[] {
  const names: string[] = []
  let [from, isInside] = [0, false]
  for (let at = 0; at < list.length; at++) {
    const character = list[at]
    if (character === '[' || character === ']') {
      if (isInside === (character === '[')) throw invalid(list, 'its brackets do not fit')
      isInside = character === '['
    } else if (character === ',' && !isInside) {
      names.push(list.slice(from, at))
      from = at + 1
    }
  }
  if (isInside) throw invalid(list, 'a bracket is not closed')
  names.push(list.slice(from))
  return names
}

function expandName(name: string, list: string): string[] {
  let hosts = ['']
  for (const [position, part] of name.split(/[[\]]/).entries()) {
    const choices = position % 2 === 0 ? [part] : expandRanges(part, list)
    if (hosts.length * choices.length > hostsMax) throw invalid(list, `it has more than ${hostsMax} hosts`)
    hosts = hosts.flatMap((host) => choices.map((choice) => host + choice))
  }
  return hosts
}

function expandRanges(ranges: string, list: string): string[] {
  return ranges.split(',').flatMap((range) => {
    const [, first, last = first] = rangePattern.exec(range) ?? []
    if (first === undefined || last === undefined) throw invalid(list, `"${range}" is no range`)
    const count = Number(last) - Number(first) + 1
    if (count < 1) throw invalid(list, `the range "${range}" ends before it begins`)
    if (count > hostsMax) throw invalid(list, `it has more than ${hostsMax} hosts`)
    return Array.from({ length: count }, (_, i) => String(Number(first) + i).padStart(first.length, '0'))
  })
}

function invalid(list: string, why: string): ContextStoreError {
  const shown = list.length > 100 ? `${list.slice(0, 100)}...` : list
  return new ContextStoreError(
    'OPTION_INVALID',
    `The host list "${shown}" cannot be read: ${why}.`,
    'It should look like node[001-016,20],login1.',
  )
}
