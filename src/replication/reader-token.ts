/**
 * Tokens of readers, stores that may read a job and write nothing of it: `reader.<name>.<key>`, made from the job's secret, which nobody can find out from them. Pure.
 *
 * key = HMAC-SHA-256(secret, `cairn/1 reader <name>`), as base64url without padding in a token. A reader does the handshake with its key instead of the secret
 * and names itself in its hello; whoever has the secret can make the key. A token holds as long as the secret.
 */
import { createHmac } from 'node:crypto'
import { checkWorkerName } from '../model/shard.ts'

/** What a reader has instead of the secret. */
export interface ReaderIdentity {
  readonly name: string
  readonly key: Uint8Array
}

const pattern = /^reader\.([A-Za-z0-9][A-Za-z0-9._-]{0,127})\.([A-Za-z0-9_-]{43})\s*$/

/** Throws `NAME_INVALID`. */
export function makeReaderToken(secret: Uint8Array, name: string): string {
  return `reader.${checkWorkerName(name)}.${Buffer.from(readerKeyOf(secret, name)).toString('base64url')}`
}

/** Reads a token, a line end behind it included; `undefined` for what is none, such as a secret. */
export function readReaderToken(bytes: Uint8Array): ReaderIdentity | undefined {
  const [, name, key] = pattern.exec(Buffer.from(bytes).toString('latin1')) ?? []
  return name === undefined || key === undefined ? undefined : { name, key: Buffer.from(key, 'base64url') }
}

export function readerKeyOf(secret: Uint8Array, name: string): Uint8Array {
  return createHmac('sha256', secret).update(`cairn/1 reader ${name}`).digest()
}
