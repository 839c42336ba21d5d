/** The same as `updates-5k-per-second`, as fast as the writer can, still one an event-loop turn: updates a second until the last is there. */
import { bytesFigure, sidesOfUpdates, variants } from './support/updates.js'

const work = 'updates-flat-out'

export default {
  figures: Object.keys(variants).flatMap((variant) => [
    {
      work: `${work}${variant}`,
      unit: 'updates/s',
      better: 'more',
      target: { 'ws-relay': 0.9, 'y-websocket': 3 },
    },
    bytesFigure(`${work}${variant}-bytes`),
  ]),
  size: { full: 20_000, quick: 4000 },
  sides: sidesOfUpdates(work, ['', '-bytes'], undefined),
}
