/** `cairn status`: how the store of a directory is doing, asked of the process that has it open. */
import type { PeerStatus, StoreStatus } from '../../index.ts'
import type { Call, CommandDescription } from '../command.ts'
import { loadLibrary } from '../library.ts'
import { formatBytes, formatCount, formatDuration, formatFacts, formatTable, printable } from '../text.ts'

export const statusCommand: CommandDescription = {
  name: 'status',
  summary: 'show how the store of a directory is doing: peers, lag, traffic, shards, alarms',
  description:
    'Asks the process that has a store open how it is doing. It asks its peers how far they are, for a second at most. ' +
    'Where nobody has the store open, says so and shows what its files hold.',
  operands: [{ name: 'DIR', text: 'the directory of a store' }],
  options: [],
  example: 'cairn status store',
  run: runStatus,
}

async function runStatus({ operands, output }: Call): Promise<void> {
  const [path = ''] = operands
  const { describeStore } = await loadLibrary()
  const status = await describeStore(path)
  if (output.isJson) output.json({ path, ...inOrder(status) })
  else for (const line of linesOf(path, status)) output.line(line)
}

function inOrder(status: StoreStatus): StoreStatus {
  const { environment, owner, health, closed, addresses, peers, follow, partnerOf, storage } = status
  const { digest, cells, bytes, shards } = status
  const told = { environment, owner, health, closed, addresses, peers, follow, partnerOf }
  return { ...told, storage, digest, cells, bytes, shards }
}

function linesOf(path: string, status: StoreStatus): string[] {
  const { environment, peers, digest, cells, bytes, shards } = status
  const facts = formatFacts([
    ['store', path],
    ...ownerFacts(status),
    ['environment', printable(environment)],
    ['cells', formatCount(cells)],
    ['bytes', formatBytes(bytes)],
    ['shards', formatCount(shards.length)],
    ['digest', digest],
  ])
  return [
    ...facts,
    ...(peers.length === 0 ? [] : ['', ...peerTable(peers)]),
    ...(shards.length === 0 ? [] : ['', ...shardTable(shards)]),
  ]
}

function ownerFacts({
  owner,
  health,
  closed,
  addresses,
  follow,
  partnerOf,
  storage,
}: StoreStatus): [string, string][] {
  if (owner === null) {
    return [
      ['owner', 'nobody has it open'],
      ['closed', closed === true ? 'in order' : 'no: its last process ended otherwise'],
    ]
  }
  const { process, host, worker, job, software } = owner
  return [
    ['owner', `process ${process} on ${printable(host)}, ${printable(software)}`],
    ['worker', printable(worker)],
    ['job', printable(job)],
    ['health', health?.state ?? 'unknown'],
    ...(health?.problems ?? []).map((problem): [string, string] => ['alarm', printable(problem)]),
    ...(health?.quarantine === undefined
      ? []
      : [['alarm', `moved aside at opening: ${printable(health.quarantine.reason)}`] as [string, string]]),
    ['addresses', addresses.length === 0 ? '-' : addresses.map(printable).join(' ')],
    ['follows', isEverything(follow) ? 'everything' : (follow ?? []).map(printable).join(' ')],
    ...(partnerOf.length === 0
      ? []
      : [['keeps', `${formatCount(partnerOf.length)} workers as a partner`] as [string, string]]),
    ['waiting', storage === null ? '-' : formatBytes(storage.pendingBytes)],
  ]
}

function isEverything(follow: readonly string[] | null): boolean {
  return follow === null || follow.includes('**')
}

/** What a peer lacks, and we of it, and what went over its link. */
function peerTable(peers: readonly PeerStatus[]): string[] {
  const rows = peers.map((peer) => [
    printable(peer.environment ?? peer.address),
    stateOf(peer),
    ...[peer.lag?.theirs, peer.lag?.ours].map((clocks) => (clocks === undefined ? '-' : formatCount(clocks))),
    formatCount(peer.bytesSent),
    formatCount(peer.bytesReceived),
    formatCount(peer.framesSent),
    formatCount(peer.framesReceived),
  ])
  const titles = ['peer', 'link', 'it lacks', 'we lack', 'bytes out', 'bytes in', 'frames out', 'frames in']
  return formatTable([titles, ...rows], 2)
}

function stateOf({
  connected,
  isBehind,
  divergedShards,
  refusedUpdates,
  lastHeardMs,
  follow,
  problem,
}: PeerStatus): string {
  if (!connected) return problem === undefined ? 'none yet' : `none: ${printable(problem)}`
  const alarms = [
    ...(isBehind ? ['behind'] : []),
    ...(divergedShards > 0 ? [`${formatCount(divergedShards)} diverged`] : []),
    ...(refusedUpdates > 0 ? [`${formatCount(refusedUpdates)} refused`] : []),
  ]
  const heard =
    lastHeardMs !== undefined && lastHeardMs >= 5_000
      ? [`silent for ${formatDuration(lastHeardMs / 1000)}`]
      : []
  const part = isEverything(follow) ? [] : ['follows a part']
  return [...alarms, ...heard, ...part].join(', ') || 'ok'
}

function shardTable(shards: StoreStatus['shards']): string[] {
  const rows = shards.map(({ shard, cells, bytes, incarnations }) => [
    shard,
    formatCount(cells),
    formatCount(bytes),
    formatCount(incarnations),
  ])
  return formatTable([['shard', 'cells', 'bytes', 'incarnations'], ...rows])
}
