/**
 * Tokens of stock clients, who cannot take part in the handshake: `<rights>.<worker>.<proof>`, made from the job's secret, which nobody can find out from them. Pure.
 *
 * proof = HMAC-SHA-256(secret, `cairn/1 client token`, job, rights, worker; each its length and UTF-8), as base64url without padding. A token holds for the whole
 * job; whoever has it has its rights, and only another secret takes it back.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { ByteWriter } from '../base/bytes.ts'
import { checkWorkerName } from '../model/shard.ts'

/** What a token allows: reading every shard, and, with `write`, writing those of its worker. */
export interface ClientGrant {
  readonly worker: string
  readonly rights: 'read' | 'write'
}

const pattern = /^(read|write)\.([A-Za-z0-9][A-Za-z0-9._-]{0,127})\.([A-Za-z0-9_-]{43})$/

/** Throws `NAME_INVALID`. */
export function makeClientToken(secret: Uint8Array, job: string, { worker, rights }: ClientGrant): string {
  return `${rights}.${checkWorkerName(worker)}.${proofOf(secret, job, { worker, rights }).toString('base64url')}`
}

/** What a token allows; `undefined` where it is none of this job. */
export function readClientToken(secret: Uint8Array, job: string, token: string): ClientGrant | undefined {
  const [, rights, worker, proof] = pattern.exec(token) ?? []
  if (worker === undefined || proof === undefined) return undefined
  const grant: ClientGrant = { worker, rights: rights === 'write' ? 'write' : 'read' }
  return timingSafeEqual(Buffer.from(proof, 'base64url'), proofOf(secret, job, grant)) ? grant : undefined
}

function proofOf(secret: Uint8Array, job: string, { worker, rights }: ClientGrant): Buffer {
  const writer = new ByteWriter()
  for (const text of ['cairn/1 client token', job, rights, worker]) writer.text(text)
  return createHmac('sha256', secret).update(writer.finish()).digest()
}
