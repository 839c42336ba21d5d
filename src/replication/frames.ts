/**
 * Frames: what travels at once. A message is cut into frames, and put together again within a bound.
 *
 * | bytes | content of a frame, before sealing |
 * |---|---|
 * | 1 | flags: 1 = more of this message follows, 0 = its last frame; other bits are refused |
 * | rest | the next bytes of the message |
 *
 * Every frame but a message's last is full. So a message of n bytes cannot be made to cost more than n bytes and a few objects.
 */
import { assert } from '../base/assert.ts'
import { concatBytes, newBytes } from '../base/bytes.ts'
import { refusedFrame } from './closing.ts'
import { sealBytes } from './seal.ts'

/** Longest frame on the wire, bytes, sealed. */
export const frameBytesMax = 1024 * 1024
/** Longest message, bytes. */
export const messageBytesMax = 256 * 1024 * 1024

const flagBytes = 1
/** Bytes of a message in a full frame. */
export const chunkBytesMax = frameBytesMax - sealBytes - flagBytes
assert(chunkBytesMax > 0 && messageBytesMax > frameBytesMax, 'a message has room for a frame')

/** Cuts a message into the contents of frames. */
export function splitMessage(message: Uint8Array): Uint8Array[] {
  assert(message.length > 0 && message.length <= messageBytesMax, 'a message keeps its limit')
  const frames: Uint8Array[] = []
  for (let from = 0; from < message.length; from += chunkBytesMax) {
    const to = Math.min(from + chunkBytesMax, message.length)
    const frame = newBytes(flagBytes + to - from)
    frame[0] = to < message.length ? 1 : 0
    frame.set(message.subarray(from, to), flagBytes)
    frames.push(frame)
  }
  return frames
}

/** Puts messages together from the contents of frames. */
export class Assembler {
  #chunks: Uint8Array[] = []
  #length = 0

  /** The message that ends in this frame; undefined while more must follow. Throws `FRAME_REFUSED`. */
  receive(frame: Uint8Array): Uint8Array | undefined {
    const [flags] = frame
    if (flags !== 0 && flags !== 1) throw refusedFrame('its flags are unknown')
    const chunk = frame.subarray(flagBytes)
    if (flags === 1 && chunk.length !== chunkBytesMax) throw refusedFrame('more follows, but it is not full')
    this.#length += chunk.length
    if (this.#length > messageBytesMax) throw refusedFrame('its message is too long')
    this.#chunks.push(chunk)
    if (flags === 1) return undefined
    const message = this.#chunks.length === 1 ? chunk : concatBytes(this.#chunks)
    this.#chunks = []
    this.#length = 0
    return message
  }
}
