/**
 * What the environment says about the job: from Slurm, Open MPI, PMIx, Flux and what resembles them. Pure.
 *
 * Of each value the first variable that is set counts, in this order; `CAIRN_...` is what a person, or a program that starts others, says.
 *
 * | value | variables |
 * |---|---|
 * | rank | CAIRN_RANK, PMIX_RANK, OMPI_COMM_WORLD_RANK, PMI_RANK, FLUX_TASK_RANK, SLURM_PROCID (in a step), JSM_NAMESPACE_RANK, PALS_RANKID |
 * | size | CAIRN_SIZE, OMPI_COMM_WORLD_SIZE, PMI_SIZE, FLUX_JOB_SIZE, SLURM_STEP_NUM_TASKS (in a step), JSM_NAMESPACE_SIZE |
 * | localRank | CAIRN_LOCAL_RANK, OMPI_COMM_WORLD_LOCAL_RANK, FLUX_TASK_LOCAL_ID, SLURM_LOCALID (in a step), JSM_NAMESPACE_LOCAL_RANK |
 * | job | CAIRN_JOB, SLURM_JOB_ID, FLUX_JOB_ID, PBS_JOBID, LSB_JOBID, PMIX_NAMESPACE |
 * | restart | CAIRN_RESTART, SLURM_RESTART_COUNT |
 * | nodes | CAIRN_NODES, SLURM_STEP_NODELIST, SLURM_JOB_NODELIST |
 * | deadline | CAIRN_DEADLINE, SLURM_JOB_END_TIME |
 * | scratch | CAIRN_SCRATCH, SLURM_TMPDIR, FLUX_JOB_TMPDIR, TMPDIR |
 *
 * The batch script of Slurm has SLURM_PROCID=0 as well, but is no rank: only SLURM_STEP_ID tells a step. Flux and PBS have no list of nodes in their environment,
 * Slurm 22.05 no end time: there they come from `flux getattr hostlist`, `PBS_NODEFILE`, `scontrol show job`, or a person.
 */
import { ContextStoreError } from '../errors.ts'
import { expandHostList } from './host-list.ts'

/** Variables and their values, as in `process.env`. */
export type Variables = Readonly<Record<string, string | undefined>>

/** A value, and the variable that it was taken from. */
export interface Detected<T> {
  readonly value: T
  readonly from: string
}

/** What is known of the job; undefined where nothing says it. */
export interface JobEnvironment {
  /** Number of this process among those that the launcher started, from 0. */
  readonly rank: Detected<number> | undefined
  /** How many those are. */
  readonly size: Detected<number> | undefined
  /** Number among those on this node. */
  readonly localRank: Detected<number> | undefined
  /** Name of the job, with characters that a name must not hold replaced by `-`. */
  readonly job: Detected<string> | undefined
  /** How often the scheduler has restarted the job. */
  readonly restart: Detected<number> | undefined
  /** Host names, in the scheduler's order. */
  readonly nodes: Detected<readonly string[]> | undefined
  /** When the job is ended, milliseconds since 1970. */
  readonly deadline: Detected<number> | undefined
  /** Directory on this node for the time of the job. */
  readonly scratch: Detected<string> | undefined
}

const variablesOf = {
  rank: [
    'CAIRN_RANK',
    'PMIX_RANK',
    'OMPI_COMM_WORLD_RANK',
    'PMI_RANK',
    'FLUX_TASK_RANK',
    'SLURM_PROCID',
    'JSM_NAMESPACE_RANK',
    'PALS_RANKID',
  ],
  size: [
    'CAIRN_SIZE',
    'OMPI_COMM_WORLD_SIZE',
    'PMI_SIZE',
    'FLUX_JOB_SIZE',
    'SLURM_STEP_NUM_TASKS',
    'JSM_NAMESPACE_SIZE',
  ],
  localRank: [
    'CAIRN_LOCAL_RANK',
    'OMPI_COMM_WORLD_LOCAL_RANK',
    'FLUX_TASK_LOCAL_ID',
    'SLURM_LOCALID',
    'JSM_NAMESPACE_LOCAL_RANK',
  ],
  job: ['CAIRN_JOB', 'SLURM_JOB_ID', 'FLUX_JOB_ID', 'PBS_JOBID', 'LSB_JOBID', 'PMIX_NAMESPACE'],
  restart: ['CAIRN_RESTART', 'SLURM_RESTART_COUNT'],
  nodes: ['CAIRN_NODES', 'SLURM_STEP_NODELIST', 'SLURM_JOB_NODELIST'],
  deadline: ['CAIRN_DEADLINE', 'SLURM_JOB_END_TIME'],
  scratch: ['CAIRN_SCRATCH', 'SLURM_TMPDIR', 'FLUX_JOB_TMPDIR', 'TMPDIR'],
} as const satisfies Record<keyof JobEnvironment, readonly string[]>

/** Have a meaning of their own in a step only. */
const ofStep = new Set(['SLURM_PROCID', 'SLURM_LOCALID', 'SLURM_STEP_NUM_TASKS', 'SLURM_STEP_NODELIST'])
/** From here on Slurm's step ids stand for the batch script and other things that are no step. */
const stepIdsMax = 0xffff_fff0

const readers: { readonly [K in keyof JobEnvironment]: (text: string, name: string) => ValueOf<K> } = {
  rank: readCount,
  size: readCount,
  localRank: readCount,
  job: readJob,
  restart: readCount,
  nodes: (text) => expandHostList(text),
  deadline: (text, name) => readCount(text, name) * 1000,
  scratch: (text) => text,
}

type ValueOf<K extends keyof JobEnvironment> = Exclude<JobEnvironment[K], undefined>['value']

/** Everything at once. Throws `OPTION_INVALID` for a variable that cannot be read. */
export function detectJob(variables: Variables): JobEnvironment {
  return {
    rank: detect('rank', variables),
    size: detect('size', variables),
    localRank: detect('localRank', variables),
    job: detect('job', variables),
    restart: detect('restart', variables),
    nodes: detect('nodes', variables),
    deadline: detect('deadline', variables),
    scratch: detect('scratch', variables),
  }
}

/** One value, whatever the others say. Throws `OPTION_INVALID` when its variable cannot be read. */
export function detect<K extends keyof JobEnvironment>(
  what: K,
  variables: Variables,
): Detected<ValueOf<K>> | undefined {
  const isStep = isSlurmStep(variables)
  for (const name of variablesOf[what]) {
    const text = variables[name]?.trim()
    if (text === undefined || text === '' || (ofStep.has(name) && !isStep)) continue
    return { value: readers[what](text, name), from: name }
  }
  return undefined
}

function isSlurmStep({ SLURM_STEP_ID: step }: Variables): boolean {
  return step !== undefined && /^\d+$/.test(step) && Number(step) < stepIdsMax
}

function readCount(text: string, name: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(count)) return count
  throw new ContextStoreError(
    'OPTION_INVALID',
    `The environment says ${name}=${JSON.stringify(text)}, which is no whole number.`,
    `Unset ${name}, or give the value as an option.`,
  )
}

/** Flux writes its ids with a letter of its own, PMIx namespaces may hold anything. */
function readJob(text: string): string {
  const name = text.replaceAll('ƒ', 'f').replaceAll(/[^A-Za-z0-9._-]/g, '-')
  return name.replace(/^[^A-Za-z0-9]+/, '').slice(0, 128) || 'job'
}
