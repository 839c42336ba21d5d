/**
 * Where everything goes: results to standard output, everything else to standard error.
 *
 * Results are gathered and written in pieces of 64 KiB. A reader that has seen enough (`| head`) ends the command
 * quietly; a disk that is full does not.
 */
import { CommandError, type Failure } from './failures.ts'
import { printable } from './text.ts'

const pieceLength = 64 * 1024

/** A stream as Node gives it to a process. */
export type StandardStream = NodeJS.WriteStream

export class Output {
  /** Results and errors are JSON. */
  readonly isJson: boolean
  readonly #results: StandardStream
  readonly #messages: StandardStream
  #gathered = ''

  constructor(
    streams: { readonly results: StandardStream; readonly messages: StandardStream },
    isJson: boolean,
  ) {
    this.isJson = isJson
    this.#results = streams.results
    this.#messages = streams.messages
    // What went wrong is asked for in `finish`; without anybody listening, the process would crash.
    this.#results.on('error', () => {})
    // Nobody can be told that nobody can be told.
    this.#messages.on('error', () => {})
  }

  /** Columns of the terminal that shows the results, `undefined` where it is none, or does not know. */
  get columns(): number | undefined {
    const columns = this.#results.isTTY ? this.#results.columns : 0
    return columns > 0 ? columns : undefined
  }

  /** False once nobody can read results any more: then stop. */
  get isOpen(): boolean {
    return this.#results.errored === null
  }

  /** One line of result. */
  line(line: string): void {
    this.text(`${line}\n`)
  }

  /** Lines of result, the last one ended, too. */
  text(text: string): void {
    this.#gathered += text
    if (this.#gathered.length >= pieceLength) this.#write(() => {})
  }

  /** One result as one line of JSON. */
  json(result: unknown): void {
    this.line(JSON.stringify(result))
  }

  /** Something to know that is no result. Said to people only: programs find it in the JSON. */
  note(sentence: string): void {
    if (!this.isJson) this.#messages.write(`cairn: ${printable(sentence)}\n`)
  }

  /** The last words. With JSON, they are the only ones. */
  fail({ code, message, hint, stack }: Failure): void {
    if (this.isJson) {
      const error = { code, message, hint, ...(stack === undefined ? {} : { stack }) }
      this.#messages.write(`${JSON.stringify({ error })}\n`)
      return
    }
    this.#messages.write(`cairn: ${printable(message)}\nhint: ${printable(hint)}\n`)
    if (stack !== undefined) this.#messages.write(`${stack}\n`)
  }

  /** Resolves when all results are out of our hands, or nobody wants them. Throws `OUTPUT_FAILED`. */
  async finish(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#write(() => resolve())
    })
    const error: NodeJS.ErrnoException | null = this.#results.errored
    if (error === null || error.code === 'EPIPE') return
    throw new CommandError(
      'OUTPUT_FAILED',
      `Standard output took only a part of the results (${error.code ?? error.message}).`,
      'Is the disk full? Write elsewhere.',
    )
  }

  #write(done: () => void): void {
    const text = this.#gathered
    this.#gathered = ''
    if (this.isOpen) this.#results.write(text, done)
    else done()
  }
}
