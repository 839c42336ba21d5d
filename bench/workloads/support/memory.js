/** Memory that is the process's own. */
import { readFileSync } from 'node:fs'

/** Megabytes of this process that no file backs, after garbage collection. */
export function anonymousMegabytes() {
  globalThis.gc?.()
  const kilobytes = /^RssAnon:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  return Number(kilobytes) / 1024
}
