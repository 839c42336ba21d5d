/** Which addresses of this computer to listen at, of several network interfaces. Pure. */
import { BlockList, isIP, isIPv6 } from 'node:net'
import type { NetworkInterfaceInfo } from 'node:os'
import { ContextStoreError } from '../errors.ts'

/** As `os.networkInterfaces` gives them. */
export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>

/** The first IPv4 address that others can reach, else the loopback: never all interfaces. */
export function firstAddress(interfaces: Interfaces): string {
  const addresses = Object.values(interfaces).flatMap((list) => list ?? [])
  return addresses.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? '127.0.0.1'
}

/**
 * The addresses that a choice names, in its order: interfaces (`ib0`) and networks (`10.1.0.0/16`, `fd00::/8`), separated by commas. IPv4
 * addresses of an interface come before its IPv6 ones; link-local ones are left out, since they mean nothing elsewhere. What is not
 * there is passed over. Throws `OPTION_INVALID` where nothing is left.
 */
export function chosenAddresses(choice: string, interfaces: Interfaces): [string, ...string[]] {
  const all = Object.entries(interfaces)
    .flatMap(([name, list]) => (list ?? []).map(({ address }) => ({ name, address })))
    .filter(({ address }) => !/^fe[89ab]/i.test(address))
    .sort((a, b) => Number(isIPv6(a.address)) - Number(isIPv6(b.address)))
  const chosen = new Set<string>()
  for (const selector of choice.split(',')) {
    const fits = selectorOf(selector.trim(), choice)
    for (const each of all) if (fits(each)) chosen.add(each.address)
  }
  const [first, ...rest] = chosen
  if (first !== undefined) return [first, ...rest]
  const names = Object.keys(interfaces).join(', ') || 'none'
  throw invalid(`there is no network interface for "${choice}"`, `There are: ${names}.`)
}

function selectorOf(
  selector: string,
  choice: string,
): (each: { readonly name: string; readonly address: string }) => boolean {
  const [network = '', bits] = selector.split('/')
  const family = isIP(network)
  if (bits === undefined && family === 0 && selector !== '') return ({ name }) => name === selector
  const length = Number(bits ?? (family === 6 ? 128 : 32))
  const isNetwork =
    family > 0 && /^\d*$/.test(bits ?? '') && bits !== '' && length <= (family === 6 ? 128 : 32)
  if (!isNetwork)
    throw invalid(
      `interface is "${choice}"`,
      'Give names or networks, such as ib0 or 10.1.0.0/16, with commas.',
    )
  const block = new BlockList()
  block.addSubnet(network, length, family === 6 ? 'ipv6' : 'ipv4')
  return ({ address }) => isIP(address) === family && block.check(address, family === 6 ? 'ipv6' : 'ipv4')
}

function invalid(sentence: string, hint: string): ContextStoreError {
  return new ContextStoreError('OPTION_INVALID', `Invalid option: ${sentence}.`, hint)
}
