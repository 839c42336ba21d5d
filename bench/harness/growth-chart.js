/** The chart of the growth rows: what an operation costs at each size, against what it costs at the smallest. */

const sizes = ['at 10k', 'at 100k', 'at 1M']
const labels = ['10k', '100k', '1M', '4M']
const keys = [10_000, 100_000, 1_000_000, 4_000_000]
/** Name to colour; told apart also where colours are not. */
const lines = { put: '#0072b2', get: '#d55e00', list: '#009e73', open: '#cc79a7' }
const limit = 1.5
const plot = { left: 70, top: 50, width: 480, height: 280 }
const image = { width: 760, height: 400 }

/**
 * The chart as SVG, or `undefined` where a row of it was not measured.
 *
 * @param {import('./figures.js').Row[]} rows
 * @param {string} note where and when it was measured
 */
export function growthChart(rows, note) {
  const curves = Object.entries(lines).map(([name, colour]) => {
    const row = rows.find(({ work }) => work === `growth-${name}`)
    const costs = [...sizes.map((size) => row?.peers[size]), row?.ours]
    return { name, colour, unit: row?.unit ?? '', costs: costs.map((cost) => cost ?? Number.NaN) }
  })
  if (curves.some(({ costs }) => costs.some((cost) => !Number.isFinite(cost)))) return undefined
  const highest = Math.max(2, ...curves.flatMap(({ costs }) => costs.map((cost) => cost / (costs[0] ?? 1))))
  const top = Math.ceil(highest * 2) / 2
  const xOf = (count) => plot.left + (plot.width * Math.log(count / 10_000)) / Math.log(400)
  const yOf = (ratio) => plot.top + plot.height * (1 - ratio / top)
  const right = plot.left + plot.width
  const bottom = plot.top + plot.height
  const step = top > 4 ? 1 : 0.5
  const ticks = Array.from({ length: Math.floor(top / step) + 1 }, (_, index) => index * step)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${image.width} ${image.height}" width="${image.width}" height="${image.height}" font-family="sans-serif" font-size="13">`,
    `<title>Cost of one operation as a store grows</title>`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    text(plot.left, 24, 'Cost of one operation as a store grows, relative to 10,000 keys', 'start', 16),
    ...ticks.flatMap((tick) => [
      `<line x1="${plot.left}" y1="${round(yOf(tick))}" x2="${right}" y2="${round(yOf(tick))}" stroke="#dddddd"/>`,
      text(plot.left - 8, yOf(tick) + 4, `${tick}x`, 'end'),
    ]),
    ...keys.map((count, index) => text(xOf(count), bottom + 20, labels[index] ?? '', 'middle')),
    `<line x1="${plot.left}" y1="${round(yOf(limit))}" x2="${right}" y2="${round(yOf(limit))}" stroke="#555555" stroke-dasharray="6 4"/>`,
    text(plot.left + 8, yOf(limit) - 6, `limit ${limit}x`, 'start'),
    `<path d="M${plot.left} ${plot.top}V${bottom}H${right}" fill="none" stroke="#333333"/>`,
    text(plot.left + plot.width / 2, bottom + 42, 'keys in the store (logarithmic)', 'middle'),
    `<text transform="translate(20 ${plot.top + plot.height / 2}) rotate(-90)" text-anchor="middle" fill="#333333">cost against 10k keys</text>`,
    ...curves.flatMap(({ name, colour, unit, costs }, index) => {
      const points = costs.map((cost, at) => ({
        x: round(xOf(keys[at] ?? 1)),
        y: round(yOf(cost / (costs[0] ?? 1))),
      }))
      const y = plot.top + 20 + index * 44
      return [
        `<polyline points="${points.map(({ x, y: height }) => `${x},${height}`).join(' ')}" fill="none" stroke="${colour}" stroke-width="2.5"/>`,
        ...points.map(({ x, y: height }) => `<circle cx="${x}" cy="${height}" r="4" fill="${colour}"/>`),
        `<line x1="${right + 20}" y1="${y - 4}" x2="${right + 44}" y2="${y - 4}" stroke="${colour}" stroke-width="2.5"/>`,
        text(right + 50, y, name, 'start'),
        text(right + 50, y + 16, `${figure(costs[0])} to ${figure(costs.at(-1))} ${unit}`, 'start', 11),
      ]
    }),
    text(plot.left, image.height - 10, note, 'start', 11),
    '</svg>',
    '',
  ].join('\n')
}

/** @param {number} x @param {number} y @param {string} content @param {string} anchor */
function text(x, y, content, anchor, size = 13) {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" font-size="${size}" fill="#333333">${escaped}</text>`
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10
}

/** @param {number | undefined} value */
function figure(value = Number.NaN) {
  return String(Number(value.toPrecision(3)))
}
