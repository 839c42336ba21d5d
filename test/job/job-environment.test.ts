/** What the environments of launchers and schedulers say about a job. */
import { describe, expect, test } from 'vitest'
import { expandHostList, hostsMax } from '../../src/job/host-list.ts'
import { detectJob, type JobEnvironment, type Variables } from '../../src/job/job-environment.ts'

const slurm = {
  SLURM_JOB_ID: '4711',
  SLURM_JOB_NODELIST: 'n[1-3]',
  SLURM_PROCID: '0',
  SLURM_LOCALID: '0',
  SLURM_NTASKS: '6',
}
const step = {
  ...slurm,
  SLURM_STEP_ID: '0',
  SLURM_STEP_NODELIST: 'n[2-3]',
  SLURM_STEP_NUM_TASKS: '4',
  SLURM_PROCID: '3',
  SLURM_LOCALID: '1',
}
const openMpi = { OMPI_COMM_WORLD_RANK: '5', OMPI_COMM_WORLD_SIZE: '8', OMPI_COMM_WORLD_LOCAL_RANK: '2' }

const cases: [string, Variables, Partial<Record<keyof JobEnvironment, unknown>>][] = [
  ['nothing', {}, {}],
  ['the batch script of Slurm, which is no rank', slurm, { job: '4711', nodes: ['n1', 'n2', 'n3'] }],
  [
    'a batch script that has a step id',
    { ...slurm, SLURM_STEP_ID: '4294967291' },
    { job: '4711', nodes: ['n1', 'n2', 'n3'] },
  ],
  ['a step of Slurm', step, { rank: 3, size: 4, localRank: 1, job: '4711', nodes: ['n2', 'n3'] }],
  ['Slurm, restarted', { SLURM_JOB_ID: '1', SLURM_RESTART_COUNT: '2' }, { job: '1', restart: 2 }],
  ['an end', { SLURM_JOB_END_TIME: '1700000000' }, { deadline: 1_700_000_000_000 }],
  [
    'mpirun in a step of Slurm, where the step counts nodes',
    { ...step, ...openMpi, PMIX_RANK: '5', PMIX_NAMESPACE: '3435855873' },
    { rank: 5, size: 8, localRank: 2, job: '4711', nodes: ['n2', 'n3'] },
  ],
  [
    'mpirun alone',
    { ...openMpi, PMIX_NAMESPACE: 'prterun-host-12@1' },
    { rank: 5, size: 8, localRank: 2, job: 'prterun-host-12-1' },
  ],
  ['MPICH', { PMI_RANK: '1', PMI_SIZE: '2' }, { rank: 1, size: 2 }],
  [
    'Flux',
    {
      FLUX_JOB_ID: 'ƒ2Vwd',
      FLUX_TASK_RANK: '7',
      FLUX_JOB_SIZE: '9',
      FLUX_TASK_LOCAL_ID: '1',
      FLUX_JOB_TMPDIR: '/f',
      TMPDIR: '/t',
    },
    { job: 'f2Vwd', rank: 7, size: 9, localRank: 1, scratch: '/f' },
  ],
  [
    'a person, before all',
    {
      ...step,
      CAIRN_RANK: '1',
      CAIRN_JOB: 'mine',
      CAIRN_NODES: 'a,b',
      CAIRN_RESTART: '4',
      CAIRN_SIZE: '2',
      CAIRN_LOCAL_RANK: '0',
      CAIRN_SCRATCH: '/s',
      SLURM_TMPDIR: '/x',
    },
    { rank: 1, size: 2, localRank: 0, job: 'mine', restart: 4, nodes: ['a', 'b'], scratch: '/s' },
  ],
  [
    'empty variables',
    { SLURM_JOB_ID: '', SLURM_RESTART_COUNT: ' ', PBS_JOBID: '12.server' },
    { job: '12.server' },
  ],
]

test.each(cases)('of %s', (_, variables, expected) => {
  const found = Object.entries(detectJob(variables))
  const values = found.flatMap(([what, detected]) => (detected === undefined ? [] : [[what, detected.value]]))
  expect(Object.fromEntries(values)).toEqual(expected)
})

test('says which variable a value was taken from', () => {
  expect(detectJob(step).rank).toEqual({ value: 3, from: 'SLURM_PROCID' })
})

test.each([
  { PMI_RANK: 'x' },
  { SLURM_RESTART_COUNT: '-1' },
  { CAIRN_DEADLINE: 'tomorrow' },
  { SLURM_JOB_NODELIST: 'n[1-' },
])('refuses what it cannot read: %o', (variables) => {
  expect(() => detectJob(variables)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
})

describe('host lists', () => {
  test.each([
    ['host', ['host']],
    ['a,b', ['a', 'b']],
    ['n[0-3]', ['n0', 'n1', 'n2', 'n3']],
    ['n[00-03]', ['n00', 'n01', 'n02', 'n03']],
    ['n[0,2,5]', ['n0', 'n2', 'n5']],
    ['n[098-101]', ['n098', 'n099', 'n100', 'n101']],
    ['n[9-11]', ['n9', 'n10', 'n11']],
    [
      'node[001-003,7]-ib[0,2]',
      [
        'node001-ib0',
        'node001-ib2',
        'node002-ib0',
        'node002-ib2',
        'node003-ib0',
        'node003-ib2',
        'node7-ib0',
        'node7-ib2',
      ],
    ],
    ['x[1-2].site,login,y[3]', ['x1.site', 'x2.site', 'login', 'y3']],
    ['[1-2]n', ['1n', '2n']],
  ])('%s', (list, hosts) => expect(expandHostList(list)).toEqual(hosts))

  test.each([
    '',
    ',',
    'a,',
    'n[',
    'n]',
    'n[]',
    'n[1',
    'n[2-1]',
    'n[a]',
    'n[1-]',
    'n[[1]]',
    'n[1]]',
    'n 1',
    'n/1',
    '../x',
    'n[0-99999]',
    'n[0-999]m[0-999]',
    'n[0-999999999999999]',
  ])('refuses "%s"', (list) =>
    expect(() => expandHostList(list)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' })),
  )

  test('takes as many hosts as the largest list', () => {
    expect(expandHostList(`n[0-${hostsMax - 1}]`)).toHaveLength(hostsMax)
  })
})
