/** Certificates for tests, made by `openssl` where there is one. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const hasOpenssl = spawnSync('openssl', ['version']).status === 0

/** PEM of an authority, and of what it has signed. */
export interface Authority {
  readonly ca: string
  /** A key and a certificate that names these addresses, such as `IP:127.0.0.1` or `DNS:localhost`. */
  sign(...addresses: readonly string[]): { readonly key: string; readonly cert: string }
}

export function makeAuthority(name: string): Authority {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-certificates-'))
  const file = (part: string): string => join(folder, part)
  const openssl = (...words: string[]): void => void execFileSync('openssl', words, { stdio: 'pipe' })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-days',
    '2',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    file('ca.key'),
    '-out',
    file('ca'),
  )
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  let signed = 0
  return {
    ca: readFileSync(file('ca'), 'utf8'),
    sign: (...addresses) => {
      const [key, request, cert] = ['key', 'request', 'cert'].map((part) => file(`${part}-${signed}`)) as [
        string,
        string,
        string,
      ]
      signed++
      writeFileSync(file('names'), `subjectAltName=${addresses.join(',')}`)
      openssl('req', ...newKey, '-subj', `/CN=store ${signed}`, '-keyout', key, '-out', request)
      const by = ['-CA', file('ca'), '-CAkey', file('ca.key'), '-CAcreateserial', '-extfile', file('names')]
      openssl('x509', '-req', '-days', '2', ...by, '-in', request, '-out', cert)
      return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
    },
  }
}
