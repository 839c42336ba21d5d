/** The log port: our failures are told here, and never thrown at the user's process. */

/** Where messages go. Must not throw. */
export interface Log {
  /** Something a person should know, with facts as fields. */
  info(message: string, facts?: Readonly<Record<string, unknown>>): void
  /** Something that went wrong and was survived. */
  warn(message: string, facts?: Readonly<Record<string, unknown>>): void
}

/** Says nothing: the default of an embedded library. */
export const silentLog: Log = { info: () => {}, warn: () => {} }

/** One JSON line a message on standard error. */
export const standardErrorLog: Log = {
  info: (message, facts) => writeLine('info', message, facts),
  warn: (message, facts) => writeLine('warn', message, facts),
}

/** Somebody hears of errors of standard error. */
let isHeard = false

function writeLine(level: string, message: string, facts: Readonly<Record<string, unknown>> = {}): void {
  const line = JSON.stringify({ time: new Date().toISOString(), level, message, ...facts })
  // Where standard error is a file on a full disk, or a pipe that nobody reads, an error that nobody hears of would end the process.
  if (!isHeard) process.stderr.on('error', () => {})
  isHeard = true
  process.stderr.write(`${line}\n`)
}
