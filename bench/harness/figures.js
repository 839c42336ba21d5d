/** From values of rounds to figures: medians, ratios, targets; as JSON lines and as a table. */

/**
 * @typedef {object} Row one line of `--json`
 * @property {string} work
 * @property {number | null} ours
 * @property {string} unit
 * @property {Record<string, number>} peers
 * @property {Record<string, number>} ratio above 1 means that we are better
 * @property {Record<string, number>} target the least ratio
 * @property {boolean} ok all targets are met, as far as their peers are here
 * @property {string[]} absent
 * @property {Record<string, string>} [failed] side -> why
 * @property {number} [rounds]
 * @property {boolean} [quick]
 * @property {boolean} [missing] no workload measures this row
 */

/**
 * @param {import('./workloads.js').Figure} figure
 * @param {import('./interleave.js').Measured} measured
 * @param {boolean} quick
 * @returns {Row}
 */
export function rowOf(figure, measured, quick) {
  const bySide = measured.values.get(figure.work) ?? new Map()
  const mediansOf = (work) =>
    mapValues(Object.fromEntries(measured.values.get(work) ?? []), (values) => median(values))
  const medians = mediansOf(figure.work)
  const { ours, ...peers } = medians
  if (ours !== undefined) {
    for (const [limit, of] of Object.entries(figure.limits ?? {})) {
      const value = of(medians, mediansOf)
      if (Number.isFinite(value)) peers[limit] = value
    }
  }
  const ratio = Object.fromEntries(
    Object.entries(peers).map(([peer, value]) => [
      peer,
      ours === undefined ? 0 : figure.better === 'more' ? ours / value : value / ours,
    ]),
  )
  const failed = Object.fromEntries(measured.failed)
  const absent = [...measured.absent.keys()]
  const isMet = ([peer, least]) =>
    absent.includes(peer) || (ratio[peer] !== undefined && ratio[peer] >= least)
  return {
    work: figure.work,
    ours: ours === undefined ? null : rounded(ours),
    unit: figure.unit,
    peers: mapValues(peers, rounded),
    ratio: mapValues(ratio, rounded),
    target: mapValues(figure.target, rounded),
    ok: ours !== undefined && Object.entries(figure.target).every(isMet),
    absent,
    ...(measured.failed.size > 0 && { failed }),
    rounds: bySide.get('ours')?.length ?? 0,
    quick,
  }
}

/** The line of a row that nothing measures. @param {string} work @returns {Row} */
export function missingRow(work) {
  return {
    work,
    ours: null,
    unit: '',
    peers: {},
    ratio: {},
    target: {},
    ok: false,
    absent: [],
    missing: true,
  }
}

/** A table for people. @param {Row[]} rows @param {Map<string, string>} reasons why a peer is absent */
export function table(rows, reasons) {
  const lines = rows.flatMap((row) => {
    if (row.missing) return [[row.work, 'missing', '', '', '', '', 'NO']]
    const first = [
      row.work,
      row.ours === null ? 'failed' : figureText(row.ours),
      row.unit,
      '',
      '',
      '',
      row.ok ? 'yes' : 'NO',
    ]
    const peers = Object.entries(row.peers).map(([peer, value]) => {
      const least = row.target[peer]
      const ratio = row.ratio[peer] ?? 0
      const mark = least === undefined ? '' : `>= ${least}${ratio >= least ? '' : ' missed'}`
      return [`  ${peer}`, figureText(value), '', `${figureText(ratio)}x`, mark, '', '']
    })
    const absent = row.absent.map((peer) => [
      `  ${peer}`,
      reasons.get(peer) ?? 'absent',
      '',
      '',
      row.target[peer] === undefined ? '' : `>= ${row.target[peer]}`,
      '',
      '',
    ])
    const failed = Object.entries(row.failed ?? {}).map(([side, why]) => [
      `  ${side}`,
      'failed',
      '',
      '',
      why.split('\n', 1)[0] ?? '',
      '',
      '',
    ])
    return [first, ...peers, ...absent, ...failed]
  })
  const all = [['work', 'median', 'unit', 'ratio', 'target', '', 'ok'], ...lines].map((line) =>
    line.filter((_, column) => column !== 5),
  )
  const widths = (all[0] ?? []).map((_, column) =>
    Math.max(...all.map((line) => (line[column] ?? '').length)),
  )
  return all
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** @param {number[]} values */
export function median(values) {
  const sorted = values.toSorted((one, other) => one - other)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/** Four digits are more than the machine is steady. @param {number} value */
function rounded(value) {
  return Number(value.toPrecision(4))
}

/** @param {number} value */
function figureText(value) {
  return value >= 1000 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(3)))
}

/** @template From @param {Record<string, From>} record @param {(value: From) => number} map @returns {Record<string, number>} */
function mapValues(record, map) {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value)]))
}
