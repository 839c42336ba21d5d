/** The version of this package; a test holds it equal to `package.json`. Stands in incarnation cells and snapshots. */
export const softwareVersion = 'cairn-store 0.1.0'
