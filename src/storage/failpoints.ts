/** Points of the storage at which a process may die, for tests that kill it there. */
export const failpoints = [
  /** Before the log transaction is handed to LMDB. */
  'before-log',
  /** It is durable, and nobody was told yet. */
  'after-log',
  /** Before an overlay is indexed. */
  'before-index',
  /** Between two slices of it. */
  'within-index',
  /** It is indexed, durably, and not settled. */
  'after-index',
  /** Before what settles it is written: sums, dead clocks, chunks anew, old change rows away. */
  'before-trim',
  /** It is settled. */
  'after-trim',
] as const

export type Failpoint = (typeof failpoints)[number]
