/** A process that writes so many records to so many keys, in batches of 1,000 that are on disk, says so, and waits for its end. */
import { recordOf } from '../../harness/record.js'

const [, , peer = '', dir = '', count = '', keys = ''] = process.argv
const { open } = await import(`../../peers/${peer}.js`)
const store = await open(dir)
for (let done = 0; done < Number(count); done += 1000) {
  await store.putBatch(
    Array.from({ length: 1000 }, (_, index) => recordOf((done + index) % Number(keys), done)),
  )
}
process.send?.('written')
setInterval(() => {}, 1000)
