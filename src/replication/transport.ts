/**
 * The transport port: links that carry frames whole and in order, or break.
 *
 * Called by the replicator, in one thread. Links are not trusted: whoever is at the other end has yet to prove itself. Events
 * come later, never from within a call of ours, and an event that throws does no harm to the adapter.
 */
import type { Close } from './closing.ts'

/** One end of a link. */
export interface Link {
  /** The other end, for people. */
  readonly address: string
  /** Bytes given to `send` that have not left this process yet. */
  readonly bufferedBytes: number
  /** Sends a frame, which from now on belongs to the link. Never blocks nor throws; does nothing once closed. */
  send(frame: Uint8Array): void
  /** Ends the link: what waits is sent first, if the peer takes it within a second. No frame is received any more. Harmless when repeated. */
  close(close: Close): void
}

/** What a link tells. */
export interface LinkEvents {
  /** A frame came; its bytes are valid during the call only. */
  onFrame(frame: Uint8Array): void
  /** The frames that waited have left. */
  onDrain(): void
  /** The link is over, once, whoever ended it. The code and reason are what the peer said, or 1006 when it said nothing. */
  onClose(close: Close): void
}

/** Takes a link that has come about; its events go to what is returned. Must not throw. */
export type Accept = (link: Link) => LinkEvents

/** Where to listen: a port of a host (0: the system chooses), and of other addresses of the same computer; or the path of a Unix socket. */
export type ListenAt =
  | { readonly host: string; readonly port: number; readonly otherHosts?: readonly string[] }
  | { readonly path: string }

/** An open door. */
export interface Listener {
  /** Addresses to dial, as peers may be told them. */
  readonly addresses: readonly string[]
  /** Lets no one in any more and cuts the links that are left. Never rejects. */
  close(): Promise<void>
}

/** Who knocks at a door. Nothing of it is checked. */
export interface DoorRequest {
  /** What follows the prefix of the door, as it was sent. */
  readonly path: string
  /** Of the query (`token`) or of an `Authorization: Bearer` header. */
  readonly token: string | undefined
  /** The page that a browser speaks for. */
  readonly origin: string | undefined
}

/** Another entry at the same listener, for those who do not speak the protocol of peers. */
export interface Door {
  /** Paths that begin with this are for this door. */
  readonly prefix: string
  /** Longest frame that is taken, bytes. */
  readonly frameBytesMax: number
  /** Lets a link in, or says with which HTTP status it is turned away. Must not throw. */
  admit(request: DoorRequest): Accept | number
}

export interface Transport {
  /** Resolves when `accept` got the link; rejects when the address cannot be reached, within 5 seconds or so. */
  dial(address: string, accept: Accept): Promise<void>
  /** Rejects with `OPTION_INVALID` where it cannot listen. */
  listen(at: ListenAt, accept: Accept): Promise<Listener>
}
