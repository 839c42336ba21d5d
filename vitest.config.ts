import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['**/*.test.ts'],
    globalSetup: ['test/support/verify-directory.ts'],
    // Native modules and processes that are killed on purpose want a process each, not a thread.
    pool: 'forks',
    // On two processors: many tests wait, for a link to be given up or for a process.
    maxWorkers: 3,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
