/** Slurm with four nodes, all of them this machine: a controller, and a daemon a node, which this process starts and ends. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { vi } from 'vitest'
import type { PythonTest } from './python-test.ts'

const nodes = ['n1', 'n2', 'n3', 'n4'] as const

/** A cluster that runs. */
export class Slurm {
  readonly #folder: string
  readonly #environment: NodeJS.ProcessEnv
  readonly #controller: ChildProcess
  readonly #daemons: ReadonlyMap<string, ChildProcess>

  private constructor(
    folder: string,
    environment: NodeJS.ProcessEnv,
    controller: ChildProcess,
    daemons: ReadonlyMap<string, ChildProcess>,
  ) {
    this.#folder = folder
    this.#environment = environment
    this.#controller = controller
    this.#daemons = daemons
  }

  /** One whose jobs find the command `cairn` as if it had been installed: the examples call it by its name. */
  static async withCommand({ folder, environment }: PythonTest): Promise<Slurm> {
    const bin = join(folder, 'bin')
    mkdirSync(bin)
    writeFileSync(join(bin, 'cairn'), `#!/bin/sh\nexec ${environment['CAIRN_COMMAND']} "$@"\n`)
    chmodSync(join(bin, 'cairn'), 0o755)
    const { TMPDIR: _nodesHaveTheirOwn, ...rest } = environment
    return Slurm.start(folder, { ...rest, PATH: `${bin}:${rest['PATH']}` })
  }

  /** @param environment of everything that runs in it */
  static async start(folder: string, environment: NodeJS.ProcessEnv): Promise<Slurm> {
    const place = mkdtempSync(join(folder, 'slurm-'))
    const configuration = join(place, 'slurm.conf')
    for (const name of ['state', 'spool', 'log', 'scratch']) mkdirSync(join(place, name))
    const prolog = join(place, 'task-prolog.sh')
    // As sites do it: a directory on the node for the time of the job.
    writeFileSync(
      prolog,
      `#!/bin/sh\nscratch=${place}/scratch/$SLURMD_NODENAME/$SLURM_JOB_ID-\${SLURM_RESTART_COUNT:-0}\nmkdir -p "$scratch"\necho "export SLURM_TMPDIR=$scratch"\n`,
    )
    chmodSync(prolog, 0o755)
    writeFileSync(configuration, configurationOf(place, prolog, await freePorts(nodes.length + 1)))
    const variables = { ...environment, PATH: `${environment['PATH']}:/usr/sbin`, SLURM_CONF: configuration }
    const run = (words: readonly string[]) => daemon(words, variables, join(place, 'log/daemons.log'))
    const controller = run(['slurmctld', '-D', '-f', configuration])
    const daemons = new Map(
      nodes.map((node) => [node, run(['slurmd', '-D', '-f', configuration, '-N', node])]),
    )
    const slurm = new Slurm(place, variables, controller, daemons)
    try {
      await vi.waitUntil(async () => (await slurm.#idle()) === nodes.length, {
        timeout: 30_000,
        interval: 200,
      })
    } catch (error) {
      const said = ['slurmctld.log', 'daemons.log'].map((name) =>
        readFileSync(join(place, 'log', name), 'utf8').slice(-2_000),
      )
      await slurm.stop()
      throw new Error(`Slurm does not start: ${said.join('\n')}`, { cause: error })
    }
    return slurm
  }

  /** Runs a command of Slurm; returns what it printed. */
  async tell(command: string, ...words: readonly string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(command, words, { env: this.#environment, timeout: 20_000 })
    return stdout.trim()
  }

  /** Gives a job; returns its id. What it prints is in `FILE` of the folder. */
  async submit(file: string, ...words: readonly string[]): Promise<string> {
    return this.tell('sbatch', '--parsable', '--open-mode=append', `--output=${file}`, ...words)
  }

  /** What is known of a job: of a field, such as `JobState`. */
  async fieldOf(job: string, name: string): Promise<string | undefined> {
    const shown = await this.tell('scontrol', '--oneliner', 'show', 'job', job)
    return new RegExp(`(?:^|\\s)${name}=(\\S+)`).exec(shown)?.[1]
  }

  /** Waits until a job is in one of some states. */
  async waitFor(job: string, states: readonly string[], timeout = 60_000): Promise<void> {
    await vi.waitUntil(async () => states.includes((await this.fieldOf(job, 'JobState')) ?? ''), {
      timeout,
      interval: 250,
    })
  }

  /** The daemon of a node is gone, and the controller told that the node is down: what runs there runs on. */
  async lose(node: string): Promise<void> {
    this.#daemons.get(node)?.kill('SIGKILL')
    await this.tell('scontrol', 'update', `NodeName=${node}`, 'State=DOWN', 'Reason=lost')
  }

  /** A job that was requeued waits for two minutes, unless told. */
  async startNow(job: string): Promise<void> {
    await this.waitFor(job, ['PENDING'])
    await this.tell('scontrol', 'update', `JobId=${job}`, 'StartTime=now')
  }

  /** Directories of a job on disks of its nodes, one a node and run. */
  scratchOf(job: string): readonly string[] {
    return nodes.flatMap((node) => {
      const scratch = join(this.#folder, 'scratch', node)
      const names = existsSync(scratch) ? readdirSync(scratch) : []
      return names.filter((each) => each.startsWith(`${job}-`)).map((name) => join(scratch, name))
    })
  }

  /** What a job had on disks of its nodes is gone, as after most jobs. */
  wipe(job: string): void {
    for (const scratch of this.scratchOf(job)) rmSync(scratch, { recursive: true })
  }

  async stop(): Promise<void> {
    await this.tell('scancel', '--full', '--user=root').catch(() => {})
    for (const child of [...this.#daemons.values(), this.#controller]) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      const gone = once(child, 'exit')
      child.kill('SIGTERM')
      await Promise.race([gone, pause(5_000).then(() => child.kill('SIGKILL'))])
    }
  }

  async #idle(): Promise<number> {
    try {
      return (await this.tell('sinfo', '--noheader', '--Node', '--format=%T'))
        .split('\n')
        .filter((state) => state === 'idle').length
    } catch {
      return 0
    }
  }
}

function daemon(
  [command = '', ...words]: readonly string[],
  env: NodeJS.ProcessEnv,
  log: string,
): ChildProcess {
  return spawn('sh', ['-c', `exec "$0" "$@" >>'${log}' 2>&1`, command, ...words], {
    env,
    stdio: 'ignore',
  })
}

function configurationOf(place: string, prolog: string, [port = 0, ...ports]: readonly number[]): string {
  const host = hostname().split('.')[0]
  const lines = [
    'ClusterName=ci',
    `SlurmctldHost=${host}(127.0.0.1)`,
    `SlurmctldPort=${port}`,
    // No two clusters of this machine, which test files may start at the same time, have a job of the same number.
    `FirstJobId=${port}`,
    'SlurmUser=root',
    'SlurmdUser=root',
    'AuthType=auth/none',
    'CredType=cred/none',
    `StateSaveLocation=${place}/state`,
    `SlurmdSpoolDir=${place}/spool/%n`,
    `SlurmctldPidFile=${place}/slurmctld.pid`,
    `SlurmdPidFile=${place}/slurmd.%n.pid`,
    `SlurmctldLogFile=${place}/log/slurmctld.log`,
    `SlurmdLogFile=${place}/log/slurmd.%n.log`,
    'PlugStackConfig=/dev/null',
    'ProctrackType=proctrack/linuxproc',
    'TaskPlugin=task/none',
    `TaskProlog=${prolog}`,
    'JobAcctGatherType=jobacct_gather/none',
    'AccountingStorageType=accounting_storage/none',
    'MpiDefault=none',
    'SchedulerType=sched/builtin',
    'SelectType=select/cons_tres',
    'SelectTypeParameters=CR_Core',
    'ReturnToService=2',
    'KillWait=20',
    'SlurmdParameters=config_overrides',
    'JobRequeue=1',
    'CommunicationParameters=NoInAddrAny,NoCtldInAddrAny',
    'SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0',
    ...nodes.map(
      (node, i) =>
        `NodeName=${node} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${ports[i]} CPUs=4 RealMemory=2000 State=UNKNOWN`,
    ),
    'PartitionName=debug Nodes=n[1-4] Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO',
  ]
  return `${lines.join('\n')}\n`
}

/** Ports of which nobody listens at any now. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      return server
    }),
  )
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map(async (server) => once(server.close(), 'close')))
  return ports
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}
