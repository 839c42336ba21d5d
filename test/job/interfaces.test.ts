/** Which of several network interfaces a store listens at. */
import { expect, test } from 'vitest'
import { chosenAddresses, firstAddress, type Interfaces } from '../../src/job/interfaces.ts'

const info = (address: string, internal = false) => ({
  address,
  internal,
  netmask: '',
  mac: '',
  cidr: null,
  ...(address.includes(':') ? { family: 'IPv6' as const, scopeid: 0 } : { family: 'IPv4' as const }),
})
const node: Interfaces = {
  lo: [info('127.0.0.1', true), info('::1', true)],
  eth0: [info('fe80::1'), info('192.168.7.9')],
  ib0: [info('fd00::9'), info('10.1.2.3')],
}

test('by default the first address that others can reach', () => {
  expect(firstAddress(node)).toBe('192.168.7.9')
  expect(firstAddress({ lo: node['lo'] })).toBe('127.0.0.1')
  expect(firstAddress({})).toBe('127.0.0.1')
})

test.each([
  ['ib0', ['10.1.2.3', 'fd00::9']],
  ['ib0,eth0', ['10.1.2.3', 'fd00::9', '192.168.7.9']],
  ['hsn0, ib0', ['10.1.2.3', 'fd00::9']],
  ['10.0.0.0/8', ['10.1.2.3']],
  ['fd00::/8', ['fd00::9']],
  ['192.168.7.9', ['192.168.7.9']],
  ['eth0', ['192.168.7.9']],
  ['10.1.0.0/16,ib0', ['10.1.2.3', 'fd00::9']],
])('of the choice %s', (choice, addresses) => expect(chosenAddresses(choice, node)).toEqual(addresses))

test.each([
  '',
  'hsn0',
  'ib0,',
  '10.0.0.0/33',
  '10.0.0.0/',
  '10.0.0.0/x',
  '172.16.0.0/12',
  'fe80::/10',
  'a/8',
])('refuses "%s"', (choice) =>
  expect(() => chosenAddresses(choice, node)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' })),
)
