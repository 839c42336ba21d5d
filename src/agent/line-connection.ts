/** A conversation over a socket: one write for all answers to what came in together, and no reading from who does not read. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Conversation, type Household, type Outlet } from './conversation.ts'
import { LineReader } from './lines.ts'

/** Speaks lines with who is at the other end, and began so. Returns what ends the connection when what was sent is out; an attendant is told what went wrong. */
export function speakLines(
  socket: Socket,
  household: Household,
  first: Buffer,
): (problems: readonly string[]) => void {
  const lines = new LineReader()
  let gathered = ''
  let isTaking = false

  const write = (): void => {
    const text = gathered
    gathered = ''
    if (text === '' || socket.destroyed || socket.writableEnded || socket.write(text)) return
    socket.pause()
    socket.once('drain', () => socket.resume())
  }
  const outlet: Outlet = {
    send: (line) => {
      if (gathered === '' && !isTaking) queueMicrotask(write)
      gathered += `${line}\n`
    },
    room: () => roomIn(socket),
    end: () => {
      write()
      socket.end()
    },
  }
  const conversation = new Conversation(household, outlet)
  const take = (piece: Buffer): void => {
    isTaking = true
    for (const line of lines.take(piece)) conversation.receive(line)
    isTaking = false
    write()
  }
  socket.on('data', take)
  socket.once('close', () => conversation.close())
  take(first)
  return (problems) => {
    conversation.tellProblems(problems)
    conversation.close()
    outlet.end()
  }
}

/** Resolves when the other side has read enough, or is gone. */
export async function roomIn(
  stream: Pick<Socket, 'writableNeedDrain' | 'destroyed' | 'once' | 'off'>,
): Promise<void> {
  if (!stream.writableNeedDrain || stream.destroyed) return
  const over = new AbortController()
  const stop = (): void => over.abort()
  stream.once('close', stop)
  await once(stream as Socket, 'drain', { signal: over.signal }).catch(() => {})
  stream.off('close', stop)
}
