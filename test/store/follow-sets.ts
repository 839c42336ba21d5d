/** What tests of follow sets and the processes that they start agree upon. */
export const secret = new Uint8Array(32).fill(3)
export const rowsOfEach = 200
