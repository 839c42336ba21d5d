/** What the parts of a store share: its environment, the writer of its worker, and when to settle. */
import type { Environment } from './environment.ts'
import type { Writer } from './writer.ts'

export interface Core {
  readonly environment: Environment
  readonly writer: Writer
  /** Throws `STORE_CLOSED` on a closed store. */
  checkOpen(): void
  /** Something was coalesced: it is to become cells in time. */
  settleSoon(): void
}
