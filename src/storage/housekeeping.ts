/**
 * When to index, to sweep and to trim: policy without I/O. Each figure says what raising and lowering it costs.
 */

/**
 * An overlay of this size is indexed. Larger: longer bursts at the speed of the log, more memory (about twice this), a longer replay after a
 * crash. Smaller: more, smaller index transactions; random writes to LMDB want large sorted ones.
 */
export const overlayBytesMax = 24 * 1024 * 1024

/** With so much in memory that is not indexed, or not even written, writes are refused. */
export const pendingBytesMax = 256 * 1024 * 1024

/** Change rows kept for peers that return. More: fewer full comparisons after a long absence; the bytes are on disk. */
export const feedBytesMax = 4 * 1024 * 1024

/**
 * What nobody awaits is written at the latest after this time, in milliseconds. More: fewer transactions for who writes a little in every turn of the event
 * loop (one costs about 0.2 ms of a processor); what is lost with the process, and nobody was told that it is durable, is that much more.
 */
export const gatherMs = 5

/** Rows of the index that are made at a time; between slices the event loop runs. */
export const indexSliceKeys = 2_000

/** Rows of an index transaction. More: fewer flushes, longer pauses of the event loop, about 1 us a row. */
export const indexTransactionKeys = 8_000

/** A chunk half of whose clocks are dead is written anew: space is at most doubled, and each cell moved about once for each time half of its neighbours die. */
export function isHalfDead(dead: number, clocks: number): boolean {
  return dead * 2 >= clocks
}

/** Small flushes make small chunks: a scan of them costs a row a cell. Joined where an incarnation wrote several that are less than a quarter full. */
export function isScattered(chunks: number, bytes: number): boolean {
  return chunks >= 4 && bytes / chunks < 4_096
}
