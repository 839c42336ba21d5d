/**
 * What waits for a disk that fails takes a bounded amount of memory. The contract: a commit beyond `pendingBytesMax` throws `STORE_FULL`, with a hint,
 * and changes nothing; reads go on; once the disk is well everything that was taken becomes durable, and there is room again.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { canShim, DiskShim } from '../support/disk-shim.ts'
import { compile, type Child, type Program } from './child.ts'
import { placeOf } from './history.ts'
import { openAt, temporaryDirectory } from './places.ts'

const pendingBytesMax = 1024 * 1024

describe.runIf(canShim)('while nothing can be written', () => {
  let shim: DiskShim
  let program: Program
  let child: Child

  beforeAll(async () => {
    shim = new DiskShim()
    program = await compile(new URL('children/fill-memory.ts', import.meta.url))
  })

  afterEach(() => child.kill())

  afterAll(() => {
    shim.remove()
    program.remove()
  })

  test('a commit beyond the limit throws STORE_FULL, and there is room again once the disk is well', async () => {
    const directory = temporaryDirectory()
    const faults = shim.faults()
    child = program.start({
      args: [directory, String(pendingBytesMax)],
      env: shim.failing(directory, faults),
    })
    await child.line('open')
    faults.begin({ code: 'ENOSPC', call: 'pages', after: 0 })
    child.say('fill')
    const [, code, bytes] = (await child.line('full')).split(' ')
    expect(code).toBe('STORE_FULL')
    expect(Number(bytes)).toBeGreaterThan(pendingBytesMax / 2)
    expect(Number(bytes)).toBeLessThan(2 * pendingBytesMax)
    expect(await child.line('readable')).toBe('readable true')
    faults.end()
    child.say('heal')
    const [, cells] = (await child.line('end')).split(' ')
    expect(await child.exit).toEqual({ code: 0, signal: null })
    expect(child.lines.filter((line) => line.startsWith('unhandled'))).toEqual([])
    const storage = await openAt(directory)
    for (let cell = 0; cell < Number(cells); cell++) {
      expect(storage.cells(placeOf(['key', cell]))).toHaveLength(1)
    }
    await storage.close()
  })
})

test.runIf(!canShim)('failing calls need a C compiler, which is not here: nothing was tested', () => {
  expect(process.env['CI']).not.toBe('true')
})
