/** The fourth part of the seeds of `simulator.test.ts`. */
import { testSeeds } from './support/simulated-seeds.ts'

testSeeds(4)
