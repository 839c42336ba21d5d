/**
 * Canonical JSON Lines: one entry a line, in key order, members in a fixed order and those of values sorted. Equal entries give equal bytes. What
 * JSON has no form for is written as `toJson` does.
 */
import { toJson } from '../model/value.ts'
import type { ExportEntry } from './rows.ts'

export function* jsonLines(entries: Iterable<ExportEntry>): Iterable<string> {
  for (const { key, value, worker, stamp } of entries)
    yield `${JSON.stringify({ key, value: toJson(value), worker, stamp })}\n`
}
