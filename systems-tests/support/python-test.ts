/** Python's tests of adapters, in processes of their own, against the real command. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Cairn } from '../../test/cli/cairn.ts'
import { compiling } from '../../test/support/python-environment.ts'

/** The client, as `PYTHONPATH` wants it. */
export const client = join(import.meta.dirname, '../../python')

/** Java's options where Spark runs for a minute: what compiles best and checks the classes of Spark would take most of the time. */
const shortLived =
  '-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote'

/** The command, and a folder of temporary files, for programs in Python. */
export class PythonTest {
  readonly cairn: Cairn
  readonly folder: string

  private constructor(cairn: Cairn) {
    this.cairn = cairn
    this.folder = mkdtempSync(join(tmpdir(), 'systems-'))
  }

  static async create(): Promise<PythonTest> {
    return new PythonTest(await Cairn.build())
  }

  /** Variables with which programs find the client and the command, and know of no job but what a test tells. */
  get environment(): NodeJS.ProcessEnv {
    return {
      PATH: process.env['PATH'],
      CAIRN_COMMAND: `'${process.execPath}' '${this.cairn.script}'`,
      PYTHONPATH: client,
      ...compiling,
      JDK_JAVA_OPTIONS: shortLived,
      TMPDIR: this.folder,
    }
  }

  /** Runs a file of `python/tests/systems` to its end; returns all that it said. Throws where a test failed. */
  async run(python: string, file: string): Promise<string> {
    const script = join(client, 'tests/systems', file)
    const options = { env: this.environment, cwd: this.folder, timeout: 240_000 }
    const { stdout, stderr } = await promisify(execFile)(python, [script, '-v'], options)
    return stdout + stderr
  }

  remove(): void {
    this.cairn.remove()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
