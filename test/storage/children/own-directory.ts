/**
 * Owns directories as it is told: `own DIRECTORY` answers `N owned` or `N CODE`, `release` answers `N released`; N counts commands.
 */
import { createInterface } from 'node:readline'
import { systemRandom } from '../../../src/base/random.ts'
import { ContextStoreError } from '../../../src/errors.ts'
import { ownDirectory, type Ownership } from '../../../src/storage/directory.ts'

let ownership: Ownership | undefined
let commands = 0

async function answer(command: string): Promise<string> {
  if (command === 'release') {
    await ownership?.release()
    return 'released'
  }
  try {
    ownership = await ownDirectory(command.slice('own '.length), systemRandom)
    return 'owned'
  } catch (error) {
    return error instanceof ContextStoreError ? error.code : String(error)
  }
}

createInterface({ input: process.stdin }).on('line', (command) => {
  const number = ++commands
  void answer(command).then((said) => process.stdout.write(`${number} ${said}\n`))
})
process.stdout.write('ready\n')
