/**
 * A cluster of Spark on one machine: a master, and two workers with an address each. Spark runs a speculative copy only on another host, which its
 * `local` and `local-cluster` have not.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const hosts = ['127.0.0.2', '127.0.0.3']

export class SparkCluster {
  /** What `spark-submit` and Python need besides. */
  readonly environment: NodeJS.ProcessEnv
  readonly #daemons: ChildProcess[] = []

  private constructor(environment: NodeJS.ProcessEnv) {
    this.environment = environment
  }

  /**
   * @param python that of the environment which has pyspark
   * @param folder for what Spark writes
   */
  static async start(python: string, folder: string, given: NodeJS.ProcessEnv): Promise<SparkCluster> {
    const where = 'import os, pyspark; print(os.path.dirname(pyspark.__file__))'
    const home = execFileSync(python, ['-c', where], { encoding: 'utf8' }).trim()
    const port = await freePort()
    const master = `spark://127.0.0.1:${port}`
    const confs = {
      'spark.master': master,
      'spark.ui.enabled': 'false',
      'spark.ui.showConsoleProgress': 'false',
      'spark.driver.host': '127.0.0.1',
      'spark.driver.memory': '512m',
      'spark.executor.memory': '512m',
      'spark.python.daemon.module': 'spark_daemon',
    }
    const conf = join(folder, 'conf')
    mkdirSync(conf, { recursive: true })
    const lines = Object.entries(confs).map(([name, value]) => `${name} ${value}\n`)
    writeFileSync(join(conf, 'spark-defaults.conf'), lines.join(''))
    const cluster = new SparkCluster({
      ...given,
      SPARK_HOME: home,
      SPARK_CONF_DIR: conf,
      SPARK_LOCAL_DIRS: join(folder, 'local'),
      SPARK_LOCAL_IP: '127.0.0.1',
      PYSPARK_PYTHON: python,
      PYTHONPATH: `${given['PYTHONPATH']}:${import.meta.dirname}`,
    })
    try {
      const common = ['--webui-port', '0']
      const start = (name: string, words: readonly string[]) =>
        cluster.#start(home, name, [...words, ...common])
      start('master.Master', ['--host', '127.0.0.1', '--port', `${port}`])
      await isListening(port)
      for (const host of hosts) {
        const words = ['--host', host, '--cores', '2', '--memory', '1g', '--work-dir', join(folder, host)]
        start('worker.Worker', [...words, master])
      }
    } catch (error) {
      await cluster.stop()
      throw error
    }
    return cluster
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#daemons.reverse().map(async (daemon) => {
        if (daemon.exitCode !== null || daemon.signalCode !== null) return
        const gone = once(daemon, 'exit')
        daemon.kill('SIGTERM')
        await gone
      }),
    )
  }

  #start(home: string, name: string, words: readonly string[]): void {
    // The script ends in an `exec` of Java: the child is Java itself.
    const daemon = spawn(join(home, 'bin/spark-class'), [`org.apache.spark.deploy.${name}`, ...words], {
      env: { ...this.environment, SPARK_DAEMON_MEMORY: '256m' },
      stdio: 'ignore',
    })
    daemon.on('error', () => {})
    this.#daemons.push(daemon)
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function isListening(port: number): Promise<void> {
  const end = performance.now() + 60_000
  while (performance.now() < end) {
    const socket = connect(port, '127.0.0.1')
    const isThere = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    })
    socket.destroy()
    if (isThere) return
    await sleep(100)
  }
  throw new Error('the master of Spark did not start')
}
