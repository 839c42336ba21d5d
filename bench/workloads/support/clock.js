/** Milliseconds of the clock that all processes of this computer share. */
export function nowMs() {
  return Number(process.hrtime.bigint()) / 1e6
}
