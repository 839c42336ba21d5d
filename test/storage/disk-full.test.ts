/** A full disk: the process lives, reads go on, nothing is lost, and when there is space again all is written. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { isOwned } from '../../src/storage/directory.ts'
import { compile, type Child, type Program } from './child.ts'
import { placeOf } from './history.ts'
import { openAt } from './places.ts'
import { canMount, fillUp, mountSmallDisk, unmountAll } from './small-disk.ts'

describe.runIf(canMount)('on a full disk', () => {
  let program: Program

  beforeAll(async () => {
    program = await compile(new URL('children/fill-disk.ts', import.meta.url))
  })

  afterEach(unmountAll)

  afterAll(() => program.remove())

  for (const megabytes of [2, 3, 5]) {
    test(`of ${megabytes} MiB the process lives, reads go on, and all is durable once there is space`, async () => {
      const { place, filler } = mountSmallDisk(megabytes)
      const child = program.start({ args: [place, filler] })
      await child.line('end')
      checkDegraded(child)
      expect(await child.line('freed')).toBe('freed durable')
      expect(child.lines.filter((line) => line.startsWith('health')).at(-1)).toBe('health {"writable":true}')
      expect(await child.line('after')).toBe('after durable')
      expect(await child.exit).toEqual({ code: 0, signal: null })
      await expectWritten(place, Number((await child.line('end')).split(' ')[1]))
    })
  }

  test('closing resolves, leaves nothing that fails later, and the directory can be opened again', async () => {
    const { place, filler } = mountSmallDisk(2)
    const child = program.start({ args: [place, filler, 'close'] })
    await child.line('end')
    checkDegraded(child)
    const since = child.lines.slice(child.lines.indexOf('closed') + 1)
    expect(since).toEqual(['reopened true', await child.line('end')])
    expect(await child.exit).toEqual({ code: 0, signal: null })
    await expectWritable(place)
  })

  test.each([0, 1, 2, 3, 4, 5])(
    'the process lives wherever the space ends, %i pages sooner',
    async (pages) => {
      const { place, filler } = mountSmallDisk(2, pages)
      const child = program.start({ args: [place, filler] })
      await child.line('end')
      checkDegraded(child)
      expect(await child.exit).toEqual({ code: 0, signal: null })
    },
  )

  test('a new storage is refused', async () => {
    const disk = mountSmallDisk(2)
    const { place } = disk
    fillUp(disk)
    await expect(openAt(place)).rejects.toMatchObject({
      code: 'NOT_DURABLE',
      hint: expect.stringMatching(/./),
    })
    expect(await isOwned(place)).toBe(false)
  })

  test('one that was there before is opened, and can be read', async () => {
    const disk = mountSmallDisk(2)
    const { place, filler } = disk
    const first = program.start({ args: [place, filler, 'close'] })
    await first.line('closed')
    await first.kill()
    fillUp(disk)
    const second = program.start({ args: [place, filler] })
    await second.line('end')
    checkDegraded(second)
    expect(await second.line('freed')).toBe('freed durable')
    expect(await second.exit).toEqual({ code: 0, signal: null })
    await expectWritten(place, Number((await second.line('end')).split(' ')[1]))
  })
})

test.runIf(!canMount)(
  'a full disk needs a small tmpfs, which may not be mounted here: nothing was tested',
  () => {
    expect(canMount).toBe(false)
  },
)

function checkDegraded(child: Child): void {
  expect(child.lines.filter((line) => line.startsWith('unhandled'))).toEqual([])
  expect(child.lines.find((line) => line.startsWith('full'))).toMatch(/^full NOT_DURABLE .+/)
  expect(child.lines.find((line) => line.startsWith('again'))).toMatch(/^again NOT_DURABLE .+/)
  expect(child.lines.find((line) => line.startsWith('health'))).toMatch(/"writable":false,"problem":".+"/)
  expect(child.lines).toContain('readable true')
  expect(child.lines.find((line) => line.startsWith('warned'))).toBeDefined()
}

/** Every key holds what was written to it last. */
async function expectWritten(place: string, written: number): Promise<void> {
  const storage = await openAt(place)
  for (let i = Math.max(0, written - 400); i < written; i++) {
    const contents = storage
      .cells(placeOf(['key', i % 400]))
      .map(({ content }) => Buffer.from(content).toString())
    expect(contents.some((content) => content.includes(`${i}...`))).toBe(true)
  }
  await storage.close()
}

/** It opens with what was written before the disk was full, and with what was written when it was not any more. */
async function expectWritable(place: string): Promise<void> {
  const storage = await openAt(place)
  expect([...storage.feed(0)].length).toBeGreaterThan(1)
  expect(storage.cells(placeOf(['x']))).toHaveLength(1)
  await storage.close()
}
