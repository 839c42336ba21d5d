/** Which agent answers. */
import { createConnection } from 'node:net'

/** Process id of the agent that answers at a socket. */
export async function agentAt(socket: string): Promise<number | undefined> {
  try {
    const connection = createConnection(socket)
    connection.setTimeout(2_000, () => connection.destroy())
    connection.write('{"hello":1}\n')
    for await (const piece of connection) return (JSON.parse(String(piece)) as { pid: number }).pid
  } catch {
    // Nobody does.
  }
  return undefined
}
