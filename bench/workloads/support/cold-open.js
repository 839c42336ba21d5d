/** A process that opens a store, reads one record, writes one, says in milliseconds when it had each, and ends. */
import { keyOf, recordOf } from '../../harness/record.js'

const [, , peer = '', dir = '', round = ''] = process.argv
const { open } = await import(`../../peers/${peer}.js`)
const record = recordOf(2 ** 31 + Number(round))

const start = performance.now()
const store = await open(dir)
if (store.get(keyOf(Number(round))) === undefined) throw new Error('the key holds nothing')
const get = performance.now() - start
await store.put(record)
const put = performance.now() - start
await store.close()
process.stdout.write(JSON.stringify({ get, put }))
