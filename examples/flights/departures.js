/**
 * Departures by airport: while a stage runs, one key a partition and airport; when it is over, one summary a partition (a roll-up). Groups are the same
 * before and after.
 */

/** @type {import('cairn-store').RollUpOptions} */
export const departuresByAirport = {
  from: ['departures'],
  into: ['summary', 'departures'],
  summarise: (entries) => Object.fromEntries(entries.map(({ key, value }) => [String(key[2]), value])),
}
