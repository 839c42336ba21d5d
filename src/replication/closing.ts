/**
 * Why links end. The code and the reason travel in the close frame of the transport, unsealed: they inform, and nothing is
 * decided on them but how to word a log line. Codes are never reused.
 *
 * | code | reason | meaning |
 * |---|---|---|
 * | 1000 | BYE | one side leaves; what it had to send was sent |
 * | 1011 | INTERNAL | a bug of the side that closes |
 * | 1013 | BUSY | too many links are waiting for their handshake |
 * | 4400 | FRAME_REFUSED | malformed, too long, or not sealed as it must be |
 * | 4401 | JOB_OTHER | the peer belongs to another job |
 * | 4403 | SECRET_WRONG | the proof does not hold |
 * | 4405 | READ_ONLY | a reader sent what only those send who may write |
 * | 4408 | TIMEOUT | no handshake in time, or silence |
 * | 4409 | DUPLICATE | another link to the same peer survives |
 * | 4410 | SELF | both ends are the same environment |
 * | 4411 | CHOSEN_OTHERS | the side that dialled keeps links with others now |
 * | 4422 | UPDATE_REFUSED | a stock client wrote what is outside the profile, or where it may not; the reason goes on with why |
 * | 4426 | FORMAT_NEWER | the peer speaks a later version of the protocol only |
 */

import { ContextStoreError } from '../errors.ts'

/** A WebSocket close code and its reason. */
export interface Close {
  readonly code: number
  readonly reason: string
}

export const closes = {
  bye: { code: 1000, reason: 'BYE' },
  internal: { code: 1011, reason: 'INTERNAL' },
  busy: { code: 1013, reason: 'BUSY' },
  frameRefused: { code: 4400, reason: 'FRAME_REFUSED' },
  jobOther: { code: 4401, reason: 'JOB_OTHER' },
  secretWrong: { code: 4403, reason: 'SECRET_WRONG' },
  readOnly: { code: 4405, reason: 'READ_ONLY' },
  timeout: { code: 4408, reason: 'TIMEOUT' },
  duplicate: { code: 4409, reason: 'DUPLICATE' },
  self: { code: 4410, reason: 'SELF' },
  chosenOthers: { code: 4411, reason: 'CHOSEN_OTHERS' },
  updateRefused: { code: 4422, reason: 'UPDATE_REFUSED' },
  formatNewer: { code: 4426, reason: 'FORMAT_NEWER' },
} as const satisfies Record<string, Close>

/** True of what a failed dial says where somebody was there and did not let us in, or we not them. */
export function isRefusal(problem: string): boolean {
  const { busy, frameRefused, jobOther, secretWrong, formatNewer } = closes
  return [busy, frameRefused, jobOther, secretWrong, formatNewer].some(({ reason }) => reason === problem)
}

/** The error for everything that must not have come over a link: it ends the link. */
export function refusedFrame(what: string, cause?: unknown): ContextStoreError {
  const hint = 'The peer is damaged or speaks another format; the link is closed and nothing was changed.'
  return new ContextStoreError('FRAME_REFUSED', `This frame is refused: ${what}.`, hint, { cause })
}
