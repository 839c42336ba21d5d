/** Checkpoints at signals. Arguments: directory of checkpoints; `host` where the host listens to SIGTERM as well. */
import { openStore } from '../../../src/open-store.ts'

const [directory = '', host] = process.argv.slice(2)
const store = await openStore({
  worker: 'w',
  checkpoint: { dir: directory, deadline: false, onSignals: ['SIGTERM', 'SIGUSR1'] },
})
store.set(['k'], 'at a signal')
if (host === 'host') process.on('SIGTERM', () => process.stdout.write('host\n'))
process.stdin.on('data', () => process.exit(7))
process.stdout.write('ready\n')
