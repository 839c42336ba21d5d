/** Lines out of the pieces in which a connection brings them. */

/** Longest line that an agent reads, in bytes. */
export const lineBytesMax = 16 * 1024 * 1024

const newline = 0x0a

export class LineReader {
  #pieces: Buffer[] = []
  #length = 0

  /** What came after the last end of a line. */
  rest(): string {
    return this.#finish(Buffer.alloc(0)) ?? ''
  }

  /** The lines that are whole with this piece, without their ends. Empty ones are left out. `undefined` stands for one that is too long. */
  *take(piece: Buffer): Iterable<string | undefined> {
    let from = 0
    for (let end = piece.indexOf(newline); end >= 0; end = piece.indexOf(newline, from)) {
      const line = this.#finish(piece.subarray(from, end))
      if (line !== '') yield line
      from = end + 1
    }
    if (from < piece.length) this.#keep(piece.subarray(from))
    if (this.#length > lineBytesMax) yield undefined
  }

  #keep(piece: Buffer): void {
    this.#pieces.push(piece)
    this.#length += piece.length
  }

  #finish(last: Buffer): string | undefined {
    if (this.#pieces.length === 0) return last.length > lineBytesMax ? undefined : last.toString()
    this.#keep(last)
    const length = this.#length
    const line = Buffer.concat(this.#pieces, length)
    this.#pieces = []
    this.#length = 0
    return length > lineBytesMax ? undefined : line.toString()
  }
}
