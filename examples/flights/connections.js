/**
 * Which process dialled a TCP connection within this computer? The operating system knows: in proc(5), `net/tcp` tells the
 * socket of each connection, and `<process>/fd` the sockets that a process has open.
 *
 * Where there is no such file system nobody can tell, and a cut then takes every connection: a harder test, not a
 * softer one.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** @typedef {{ from: number, to: number }} Connection The port that was dialled from, and the one that was dialled. */

/** Whether this process dialled the connection; `undefined` where nobody can tell. @param {number} processId @param {Connection} connection */
export function isDialledBy(processId, connection) {
  try {
    const socket = socketOf(readFileSync('/proc/net/tcp', 'latin1'), connection)
    return socket !== undefined && hasOpen(processId, `socket:[${socket}]`)
  } catch {
    return undefined
  }
}

/**
 * The number of the dialling end's socket, in a table whose lines are `sl local_address rem_address st ... inode ...`
 * with addresses as `0100007F:1F90`; `undefined` when there is no such connection.
 *
 * @param {string} table @param {Connection} connection
 */
export function socketOf(table, { from, to }) {
  for (const line of table.split('\n').slice(1)) {
    const [, local, remote, , , , , , , inode] = line.trim().split(/\s+/)
    if (portOf(local) === from && portOf(remote) === to) return inode
  }
  return undefined
}

/** @param {string | undefined} address */
function portOf(address) {
  return parseInt(address?.split(':')[1] ?? '', 16)
}

/** @param {number} processId @param {string} link what the descriptor is a link to */
function hasOpen(processId, link) {
  const folder = `/proc/${processId}/fd`
  return listIfAlive(folder).some((descriptor) => {
    try {
      return readlinkSync(`${folder}/${descriptor}`) === link
    } catch {
      return false // closed meanwhile
    }
  })
}

/** @param {string} folder */
function listIfAlive(folder) {
  try {
    return readdirSync(folder)
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') return []
    throw error
  }
}
