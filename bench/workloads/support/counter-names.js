/** A hundred names of counters. */
export const counterNames = Array.from({ length: 100 }, (_, index) => `rows-${index}`)
