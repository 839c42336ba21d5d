/** The same requests over HTTP: lines in the body of a POST, lines as the answer. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { ContextStoreError } from '../errors.ts'
import { Conversation, errorText, type Household, type Outlet } from './conversation.ts'
import { LineReader } from './lines.ts'
import { roomIn } from './line-connection.ts'
import { misused } from './requests.ts'

const statusByCode: Readonly<Record<string, number>> = {
  TIMEOUT: 408,
  VERSION_CHANGED: 409,
  NOT_DURABLE: 503,
  STORE_FULL: 503,
  STORE_CLOSED: 503,
  OPENING_VOID: 503,
  INTERNAL: 500,
}

/** A server that is not listening yet. With a token, requests must carry it. */
export function createHttpServer(household: Household, token?: string): Server {
  return createServer((request, response) => {
    request.on('error', () => response.destroy())
    response.on('error', () => {})
    const refusal = refusalOf(request, token)
    if (refusal !== undefined) return respond(response, refusal, errorLine(refusal))
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    if (pathname === '/1' && request.method === 'POST')
      return converse(request, response, household, searchParams)
    if (pathname === '/1/health' && request.method === 'GET') {
      const { health } = household.store
      return respond(response, health.state === 'ok' ? 200 : 503, JSON.stringify(health))
    }
    respond(response, 404, errorLine(404))
  })
}

function converse(
  request: IncomingMessage,
  response: ServerResponse,
  household: Household,
  parameters: URLSearchParams,
): void {
  const begin = (code?: string): void => {
    if (response.headersSent) return
    response.writeHead(code === undefined ? 200 : (statusByCode[code] ?? 400), {
      'content-type': 'application/jsonl',
    })
  }
  const outlet: Outlet = {
    send: (line, code) => {
      begin(code)
      response.write(`${line}\n`)
    },
    room: () => roomIn(response as unknown as Socket),
    end: () => {
      begin()
      response.end()
    },
  }
  const conversation = new Conversation(household, outlet)
  response.once('close', () => conversation.close())
  try {
    const client = parameters.get('client') ?? undefined
    conversation.begin(parameters.get('worker') ?? undefined, client)
    const lines = new LineReader()
    let count = 0
    const take = (line: string | undefined): void =>
      conversation.receive(line, client === undefined ? ++count : undefined)
    request.on('data', (piece: Buffer) => {
      for (const line of lines.take(piece)) take(line)
    })
    request.once('end', () => {
      const rest = lines.rest()
      if (rest !== '') take(rest)
      void conversation.idle().then(() => {
        conversation.close()
        outlet.end()
      })
    })
  } catch (error) {
    const { code, text } = errorText(error, household.log)
    outlet.send(`{"error":${text}}`, code)
    outlet.end()
  }
}

/** A status, where the request is refused whatever it asks for. */
function refusalOf({ headers }: IncomingMessage, token: string | undefined): 401 | 403 | undefined {
  // Browsers send it: a page must not speak for its reader.
  if (headers.origin !== undefined) return 403
  if (token === undefined || isSame(headers.authorization ?? '', `Bearer ${token}`)) return undefined
  return 401
}

function isSame(a: string, b: string): boolean {
  const [left, right] = [a, b].map((text) => createHash('sha256').update(text).digest()) as [Buffer, Buffer]
  return timingSafeEqual(left, right)
}

function errorLine(status: 401 | 403 | 404): string {
  const error =
    status === 404
      ? misused('There is POST /1 and GET /1/health.')
      : new ContextStoreError(
          'SECRET_WRONG',
          status === 401
            ? 'The request carries no token, or a wrong one.'
            : 'Requests of web pages are refused.',
          'Send "Authorization: Bearer TOKEN" with the token of the agent\'s file, and no Origin.',
        )
  const { code, message, hint } = error
  return JSON.stringify({ error: { code, message, hint } })
}

function respond(response: ServerResponse, status: number, line: string): void {
  response.writeHead(status, { 'content-type': 'application/jsonl' })
  response.end(`${line}\n`)
}
