/** The memory storage keeps the contract. */
import { seededRandom } from '../../src/base/random.ts'
import { MemoryStorage } from '../../src/storage/memory-storage.ts'
import { storageContract } from '../contracts/storage.contract.ts'

storageContract('memory', async () => ({ storage: new MemoryStorage(seededRandom(1)) }))
