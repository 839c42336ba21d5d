/** Runs that failed once, with all their options: a seed alone means another run as soon as options are drawn otherwise. */
import type { SimulationOptions } from './options.ts'

export const regressions: readonly { readonly found: string; readonly options: SimulationOptions }[] = [
  {
    found: 'a crash between two shards of a restore left half of a batch',
    options: {
      seed: 26,
      stores: 4,
      minutes: 10,
      families: [
        'loss',
        'replay',
        'reorder',
        'half-open',
        'restart',
        'pause',
        'stranger',
        'power-cut',
        'directory-removed',
        'slow-disk',
        'partial',
      ],
      follow: 'all',
      partners: 0,
      fullMeshMax: 16,
      rootIntervalMs: 10_000,
      sendBufferBytesMax: 8_388_608,
      callIntervalMs: 10_000,
      faultIntervalMs: 20_000,
      flushes: 0.1,
      valueBytes: 1_000,
    },
  },
  {
    found: 'a worker was heard of after a rewind had taken it for gone, and made void by it while it ran',
    options: {
      seed: 495,
      stores: 3,
      minutes: 10,
      families: ['replay', 'restart', 'pause', 'stranger', 'disk-full', 'clocks', 'rewind', 'zombie'],
      follow: 'all',
      partners: 0,
      fullMeshMax: 3,
      rootIntervalMs: 10_000,
      sendBufferBytesMax: 8_388_608,
      callIntervalMs: 3_000,
      faultIntervalMs: 60_000,
      flushes: 0.1,
      valueBytes: 40,
    },
  },
]
