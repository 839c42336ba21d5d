/** What the reading commands have in common: opening, and saying what could not be read. */
import type { SkippedFile, Store } from '../index.ts'
import type { Call } from './command.ts'
import { CommandError } from './failures.ts'
import { loadLibrary } from './library.ts'
import { formatQuantity } from './text.ts'

/** Opens what `path` names and reads it. Throws `INCOMPLETE` at the end where files in it could not be used. */
export async function readStore(path: string, call: Call, read: (store: Store) => void): Promise<void> {
  const { openSnapshot } = await loadLibrary()
  const skipped: SkippedFile[] = []
  await using store = await openSnapshot(path, { onSkipped: (file) => skipped.push(file) })
  noteSkipped(call, skipped)
  read(store)
  refuseSkipped(path, skipped)
}

/** As `readStore`, of two. */
export async function readStores(
  [a, b]: readonly [string, string],
  call: Call,
  read: (a: Store, b: Store) => void,
): Promise<void> {
  const { openSnapshot } = await loadLibrary()
  const skipped: SkippedFile[] = []
  const onSkipped = (file: SkippedFile): number => skipped.push(file)
  await using left = await openSnapshot(a, { onSkipped })
  await using right = await openSnapshot(b, { onSkipped })
  noteSkipped(call, skipped)
  read(left, right)
  refuseSkipped(`${a}" or "${b}`, skipped)
}

/** Says which files in `path` could not be used. Throws `INCOMPLETE` where there are any. */
export function reportSkipped(call: Call, path: string, skipped: readonly SkippedFile[]): void {
  noteSkipped(call, skipped)
  refuseSkipped(path, skipped)
}

function noteSkipped({ output }: Call, skipped: readonly SkippedFile[]): void {
  for (const { path: file, reason } of skipped) output.note(`skipped ${file}: ${reason}`)
}

function refuseSkipped(path: string, skipped: readonly SkippedFile[]): void {
  if (skipped.length === 0) return
  throw new CommandError(
    'INCOMPLETE',
    `${formatQuantity(skipped.length, 'file')} in "${path}" could not be used; this is what the rest holds.`,
    'Take other copies of them, or ask the stores that are alive for a checkpoint.',
  )
}
