/** Tables of sorted rows, as LMDB has them: what the log and the index are made of. */

export interface Range {
  readonly start: Uint8Array
  readonly end: Uint8Array
  readonly reverse?: boolean
  readonly limit?: number
}

/** One table. */
export interface Rows {
  /** The caller's own, as plain bytes. */
  get(key: Uint8Array): Uint8Array | undefined
  /** Gone with the next call. */
  getBinaryFast(key: Uint8Array): Uint8Array | undefined
  doesExist(key: Uint8Array): boolean
  /** Keys are the caller's own, as plain bytes. */
  getKeys(range: Range): Iterable<Uint8Array>
  /** Keys and values are the caller's own, as plain bytes. */
  getRange(range: Range): Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }>
}

/** One write of a transaction; no value = remove. */
export interface Write<T extends Rows> {
  readonly rows: T
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}
