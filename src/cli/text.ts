/** Text for people: one line, aligned, nothing that a terminal would obey. */

/** Shows what could move the cursor, hide or break a line as an escape that JSON knows. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, escapeCharacter)
}

function escapeCharacter(character: string): string {
  const units = Array.from({ length: character.length }, (_, index) => character.charCodeAt(index))
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('')
}

/** `1234567` as `1,234,567`. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US')
}

/** `1 input`, `2 inputs`. */
export function formatQuantity(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`
}

const sizeUnits = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** `1234567` as `1,234,567 (1.2 MB)`. */
export function formatBytes(bytes: number): string {
  return bytes < 1000 ? formatCount(bytes) : `${formatCount(bytes)} (${formatSize(bytes)})`
}

function formatSize(bytes: number): string {
  let unit = 0
  let size = bytes
  // From 999.95 on, one digit after the point would round up to 1000.0.
  while (size >= 999.95 && unit < sizeUnits.length - 1) {
    size /= 1000
    unit++
  }
  return `${size.toFixed(1)} ${sizeUnits[unit]}`
}

/** `200` as `3 min 20 s`. */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

/** Rows as columns: the first `left` of them, 1 by default, begin where the column does, the others end there. */
export function formatTable(rows: readonly (readonly string[])[], left = 1): string[] {
  const widths = (rows[0] ?? []).map((_, i) =>
    rows.reduce((width, row) => Math.max(width, (row[i] ?? '').length), 0),
  )
  const align = (text: string, i: number): string =>
    i < left ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0)
  return rows.map((row) => row.map(align).join('  '))
}

/** Names and what they are, one a line, as two columns. */
export function formatFacts(facts: readonly (readonly [name: string, fact: string])[]): string[] {
  const width = Math.max(...facts.map(([name]) => name.length))
  return facts.map(([name, fact]) => `${name.padEnd(width)}  ${fact}`)
}

/** Cuts a text that has no room, and shows that it did. */
export function shorten(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 3))}...`
}
