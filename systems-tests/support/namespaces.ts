/** Two network namespaces, `10.213.0.1` and `10.213.0.2`, and the line between them, which can be slow, lossy and cut. Needs root and `/dev/net/tun`. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

export interface Conditions {
  readonly delayMs?: number
  readonly jitterMs?: number
  /** Part of the packets that are lost. */
  readonly loss?: number
  readonly cut?: boolean
}

export const addresses = ['10.213.0.1', '10.213.0.2'] as const

export class Namespaces {
  /** Words that run a program within each. */
  readonly within: readonly [readonly string[], readonly string[]]
  readonly #names: readonly [string, string]
  readonly #relay: ChildProcess

  private constructor(names: readonly [string, string], relay: ChildProcess) {
    this.#names = names
    this.#relay = relay
    this.within = [withinOf(names[0]), withinOf(names[1])]
  }

  static async make(): Promise<Namespaces> {
    const names = [`cairn-${process.pid}-a`, `cairn-${process.pid}-b`] as const
    for (const name of names) ip('netns', 'add', name)
    const relay = spawn('/usr/bin/env', ['python3', join(import.meta.dirname, 'tap_relay.py'), ...names], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    await Promise.race([
      once(relay.stdout, 'data'),
      once(relay, 'exit').then(([code]) => Promise.reject(new Error(`the relay ended with ${code}`))),
    ])
    for (const [i, name] of names.entries()) {
      ip('-n', name, 'address', 'add', `${addresses[i]}/24`, 'dev', 'tap0')
      ip('-n', name, 'link', 'set', 'lo', 'up')
      ip('-n', name, 'link', 'set', 'tap0', 'up')
    }
    return new Namespaces(names, relay)
  }

  set(conditions: Conditions): void {
    this.#relay.stdin?.write(`${JSON.stringify(conditions)}\n`)
  }

  async remove(): Promise<void> {
    const gone = this.#relay.exitCode === null ? once(this.#relay, 'exit') : Promise.resolve()
    this.#relay.stdin?.end()
    await gone
    for (const name of this.#names) ip('netns', 'delete', name)
  }
}

function withinOf(name: string): readonly string[] {
  return ['ip', 'netns', 'exec', name]
}

function ip(...words: readonly string[]): void {
  execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'inherit'] })
}
