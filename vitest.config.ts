import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** What takes longest: begun first, so that the end does not wait for one file. By size, as vitest has it, half of these would come last. */
const first = [
  'systems-tests/spark',
  'systems-tests/slurm',
  // Meanwhile the first makes the environment of Python that all others need.
  'systems-tests/network-namespaces',
  'systems-tests/python',
  'systems-tests/slurm-frameworks',
  'systems-tests/mpi',
  'property-tests/simulator',
  'property-tests/simulator-2',
  'property-tests/simulator-3',
  'property-tests/simulator-4',
  'property-tests/kill-loops',
  'property-tests/power-cuts',
  'test/storage/lmdb-storage',
  'test/python/client',
  'test/soak/soak',
  'test/snapshot/checkpoint',
  'test/storage/damaged-files',
  'test/store/embedded',
].map((name) => `/${name}.test.ts`)

function place({ moduleId }: TestSpecification): number {
  const at = first.findIndex((name) => moduleId.endsWith(name))
  return at === -1 ? first.length : at
}

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).toSorted((a, b) => place(a) - place(b))
  }
}

export default defineConfig({
  test: {
    include: ['**/*.test.ts'],
    globalSetup: ['test/support/verify-directory.ts'],
    // Native modules and processes that are killed on purpose want a process each, not a thread.
    pool: 'forks',
    // On two processors: many wait, for a link to be given up, for a process, for a disk.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
