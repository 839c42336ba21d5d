/** A rewind of one worker by an environment, to documents that a test has in hand: without checkpoints, by the code that rewinds jobs. */
import type { Environment } from '../../src/environment/environment.ts'
import type { Opening } from '../../src/model/cell.ts'
import { Roster } from '../../src/model/fold/roster.ts'
import type { RewoundShard } from '../../src/model/rewind.ts'
import { addressOf, byWorker, type ShardName } from '../../src/model/shard.ts'
import type { ShardDocument } from '../../src/model/shard-document.ts'
import { nextOpening, planWorker } from '../../src/rewind.ts'

/** Rewinds `worker` to what the tag holds of it. The opening is above all that is known in the environment or in the tag. */
export function rewind(
  environment: Environment,
  worker: string,
  tag: ReadonlyMap<ShardName, ShardDocument>,
  restartCount: number,
): { readonly opening: Opening; readonly shards: readonly RewoundShard[] } {
  const identity = { worker, host: 'h', job: 'j', software: 's', restartCount, shardBy: byWorker }
  const known = new Roster()
  for (const [shard, document] of tag) for (const cell of document.cells()) known.add({ ...cell, shard })
  const opening = nextOpening({ environment, identityOf: () => identity }, worker, known, false)
  const ofWorker = new Map([...tag].filter(([shard]) => addressOf(shard).worker === worker))
  const shards = planWorker(environment, identity, opening, ofWorker)
  environment.commitOwn(shards.map(({ change }) => change))
  return { opening, shards }
}
