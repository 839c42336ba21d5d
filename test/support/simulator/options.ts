/** What a run is made of: everything is drawn from the seed, so that a seed is a whole test case. */
import { Choices } from '../../../property-tests/support/choices.ts'

/** Families of faults. A run has some of them (swarm testing): what one fault hides another run shows. */
export const families = {
  loss: 'up to 30 % of the frames are sent again, later; after six times the link breaks',
  replay: 'frames are repeated, also frames of links that are gone',
  reorder: 'links are slow and unequal, and a frame overtakes another of its own link',
  partition: 'one way, one store, or half the cluster is cut off',
  swizzle: 'stores are cut off one by one, and come back in another order',
  'half-open': 'a link breaks and nobody is told',
  'slow-peer': 'links take a few bytes a millisecond, and buffers are small',
  damage: 'frames come changed or cut short',
  kill: 'a process is killed between any two turns, and started again later',
  restart: 'a process leaves in order and comes back, restoring the newest checkpoint',
  'old-checkpoint': 'a computer is lost, and its worker begins anew from an older checkpoint',
  twin: 'a second process of a worker runs beside the first',
  crowd: 'many stores join at once, and leave at once',
  pause: 'a process stands still for 1 to 300 seconds',
  stranger: 'another version, another job, or somebody without the secret dials',
  'disk-full': 'disks and shared file system refuse to write',
  'power-cut': 'computers lose their power: nobody is told, and what was not flushed is lost',
  rot: 'a bit of a checkpoint file, or of a disk, changes',
  'directory-removed': 'the directory of a store is removed under it',
  'slow-disk': 'a flush takes up to 60 seconds',
  'stale-listing': 'listings of the shared file system are up to 60 seconds old',
  'lost-reply': 'a rename is done and fails, handles are forgotten, a close says that the writes were lost',
  partial: 'files that others write are seen by half',
  clocks: 'wall clocks are wrong, jump, or stand still',
  rewind: 'the job ends in some way, and all that start again rewind to a tag',
  zombie: 'of an attempt that is over some processes go on',
} as const

export type Family = keyof typeof families

export const familyNames = Object.keys(families) as readonly Family[]

/** Drawn after everything else, so that the other seeds are what they were. */
export const drawnLast: readonly Family[] = ['rewind', 'zombie']

export interface SimulationOptions {
  readonly seed: number
  readonly stores: number
  readonly minutes: number
  readonly families: readonly Family[]
  /** Most stores that all keep links with one another: fewer than there are makes an overlay. */
  readonly fullMeshMax: number
  /** Time between two root digests of a link. */
  readonly rootIntervalMs: number
  readonly sendBufferBytesMax: number
  /** Mean time between two calls of a writer. */
  readonly callIntervalMs: number
  /** Mean time between two faults of a family. */
  readonly faultIntervalMs: number
  readonly flushes: number
  readonly valueBytes: number
  /** What stores follow: everything; `progress/**` and their own; or some this, some that (`followOf`). */
  readonly follow: 'all' | 'own' | 'mixed'
  /** Peers that also keep each worker's shards. */
  readonly partners: number
}

/** The options of a seed. @param fixed what is not drawn */
export function optionsOf(seed: number, fixed: Partial<SimulationOptions> = {}): SimulationOptions {
  const choices = new Choices(seed)
  const density = choices.pick([0.1, 0.3, 0.6])
  const names = familyNames.filter((name) => !drawnLast.includes(name))
  const drawn = names.filter(() => choices.chance(density))
  // Small clusters find most, and cost least.
  const stores = 3 + Math.min(choices.below(10), choices.below(10), choices.below(10))
  const first = {
    seed,
    stores,
    minutes: 10,
    families: drawn.length === 0 ? [choices.pick(names)] : drawn,
    rootIntervalMs: choices.pick([1_000, 10_000, 10_000]),
    sendBufferBytesMax: drawn.includes('slow-peer') ? choices.pick([2_000, 20_000]) : 8 * 1024 * 1024,
    callIntervalMs: choices.pick([5_000, 10_000, 30_000]),
    faultIntervalMs: choices.pick([20_000, 60_000]),
    flushes: choices.pick([0.1, 0.3]),
    valueBytes: choices.pick([4, 40, 1_000]),
    fullMeshMax: choices.pick([16, 3]),
    follow: choices.pick(['all', 'all', 'own', 'mixed'] as const),
    partners: choices.pick([0, 1, 2]),
  }
  // A job goes back in one of fifteen seeds, which cost several times as much: of those that follow everything, where every store must show the same.
  const goesBack = first.follow === 'all' && seed % 3 === 0
  const last = goesBack ? choices.pick([[], [], [], ['rewind'], ['rewind', 'zombie']] as const) : []
  const options = { ...first, families: [...first.families, ...last], ...fixed }
  // Where nobody is a partner, two directories of one worker have nobody between them in a partial view.
  const needsPartners = options.follow !== 'all' && options.fullMeshMax < options.stores
  return needsPartners && options.partners === 0 ? { ...options, partners: 1 } : options
}

/** What the store of a computer follows. */
export function followOf({ follow }: SimulationOptions, computer: number): readonly string[] {
  if (follow === 'all' || (follow === 'mixed' && computer === 0)) return ['**']
  if (follow === 'mixed' && computer % 3 === 1) return ['progress/**', 'context/rank-?/**']
  return ['progress/**']
}
