/** The repository checks itself. Every rule answers with file, line and reason. */
import { readFileSync, readdirSync } from 'node:fs'
import { join, posix, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const files = listFiles('.')
const sources = files.filter((file) => file.startsWith('src/') && file.endsWith('.ts')).map(readSource)
const testFiles = files.filter((file) => /^(test|property-tests)\/.*\.ts$/.test(file)).map(readSource)

describe('layers', () => {
  const lower = ['errors', 'base', 'model']
  const siblings = ['storage', 'replication', 'snapshot', 'export']
  /** Layer to the layers it may import besides itself. `errors` is also the version; `store` is all else in the root of src. */
  const allowed: Record<string, readonly string[]> = {
    errors: [],
    base: ['errors'],
    model: ['errors', 'base'],
    storage: lower,
    replication: lower,
    snapshot: lower,
    export: lower,
    job: ['errors', 'base'],
    environment: [...lower, 'storage', 'replication', 'snapshot'],
    context: [...lower, 'environment'],
    record: [...lower, 'storage', 'snapshot'],
    store: [...lower, ...siblings, 'job', 'environment', 'context', 'record'],
    agent: ['errors'],
    cli: ['errors', 'agent'],
  }
  /** These use the package as any program does. */
  const outsiders = ['agent', 'cli']

  test('every file of src belongs to a layer', () => {
    const homeless = sources.filter((source) => !Object.hasOwn(allowed, layerOf(source.file)))
    expectNone(
      homeless.map(({ file }) => `${file}:1 is in no layer; there are: ${Object.keys(allowed).join(', ')}`),
    )
  })

  test('imports point down only', () => {
    const wrong = sources.flatMap((source) =>
      ownImports(source).flatMap(({ target, line, specifier }) => {
        const from = layerOf(source.file)
        const to = layerOf(target)
        if (from === to || allowed[from]?.includes(to)) return []
        if (outsiders.includes(from) && target === 'src/index.ts') return []
        const may = outsiders.includes(from)
          ? `../index.ts, ${allowed[from]?.join(', ')}`
          : (allowed[from] ?? []).join(', ')
        return [
          `${source.file}:${line} imports ${specifier}, but ${from} may import only: ${may || 'nothing'}`,
        ]
      }),
    )
    expectNone(wrong)
  })

  test('every file of src can be reached from an entry', () => {
    const entries = ['src/index.ts', 'src/cli/main.ts', 'src/storage/verify-directory.ts'].filter((entry) =>
      files.includes(entry),
    )
    const reached = new Set(entries)
    for (const file of reached) {
      const source = sources.find((candidate) => candidate.file === file)
      for (const { target } of source ? ownImports(source) : []) reached.add(target)
    }
    // Without an entry, everything is still under way.
    const dead = entries.length === 0 ? [] : sources.filter(({ file }) => !reached.has(file))
    expectNone(
      dead.map(({ file }) => `${file}:1 is imported by nothing that starts at ${entries.join(', ')}`),
    )
  })
})

describe('packages', () => {
  const owners: Record<string, string> = {
    yjs: 'src/model/yjs-bridge.ts',
    lmdb: 'src/storage/lmdb.ts',
    ws: 'src/replication/websocket-transport.ts',
    msgpackr: 'src/base/codec.ts',
    'xxhash-wasm': 'src/base/bytes.ts',
    lib0: 'src/base/bytes.ts',
    commander: 'src/cli/main.ts',
    'hyparquet-writer': 'src/export/parquet.ts',
  }

  test('each external package is imported by its one owner', () => {
    const wrong = sources.flatMap(({ file, imports }) =>
      imports.flatMap(({ specifier, line }) => {
        if (specifier.startsWith('.') || specifier.startsWith('node:')) return []
        const name = packageOf(specifier)
        const owner = Object.hasOwn(owners, name) ? owners[name] : undefined
        if (owner === file) return []
        const reason = owner ? `only ${owner} may` : 'no file of src may: it has no owner here'
        return [`${file}:${line} imports ${specifier}; ${reason}`]
      }),
    )
    expectNone(wrong)
  })

  const pins = pinsOf('package.json')

  test.each(['package.json', 'bench/package.json'])('versions are pinned exactly in %s', (file) => {
    const loose = pinsOf(file).filter(
      ([, version]) => !/^(npm:[^@]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/.test(version),
    )
    expectNone(
      loose.map(
        ([name, version]) => `${at(file, `"${name}": "`)} ${name} ${version} is not one exact version`,
      ),
    )
  })

  test('docs/ARCHITECTURE.md names every dependency', () => {
    const file = 'docs/ARCHITECTURE.md'
    const text = files.includes(file) ? read(file) : undefined
    const missing = pins.filter(
      ([name]) => text !== undefined && !name.startsWith('@types/') && !isNamed(text, name),
    )
    expectNone(
      missing.map(([name]) => `${file}:1 does not say what ${name} is for (package.json depends on it)`),
    )
  })

  test.each(['package-lock.json', 'bench/package-lock.json'])('%s holds no download address', (file) => {
    const pattern = /"resolved": "http/
    expectNone(findAll(file, read(file), pattern, 'leave addresses to the registry in use'))
  })
})

describe('banned in src', () => {
  const throughTime = 'take a Time (src/base/time.ts) and use its'
  const outsideBase: [RegExp, string][] = [
    [/\bDate\.now\b/, `${throughTime} now()`],
    [/\bnew Date\(\s*\)/, `${throughTime} now()`],
    [/\bnew Date\b(?!\()/, `${throughTime} now()`],
    [/\bperformance\.now\b/, `${throughTime} monotonic()`],
    [/\bsetTimeout\s*\(/, `${throughTime} after()`],
    [/\bsetInterval\s*\(/, `${throughTime} after(), again each time`],
    [/\bMath\.random\b/, 'take the random source of src/base/random.ts'],
    [/\brandomBytes\b/, 'take the random source of src/base/random.ts'],
    [/\bgetRandomValues\b/, 'take the random source of src/base/random.ts'],
  ]
  const everywhere: [RegExp, string][] = [
    [/\.transaction\s*\(/, 'its callback runs while the write lock is held: use put, remove or batch'],
    [/\.clearSync\s*\(/, 'it waits for the write lock and empties everything: remove keys by range'],
    [/\bexport \*/, 'name what is exported'],
    [/\bas any\b/, 'use unknown and narrow it'],
  ]
  const inText: [RegExp, string][] = [
    [/\b(TODO|FIXME|XXX)\b/, 'do it now, or write it into the docs as a limit'],
    [/@ts-ignore/, 'use @ts-expect-error with a reason, or fix the type'],
  ]

  test.each(outsideBase)('%s outside of src/base', (pattern, reason) => {
    const outside = sources.filter(({ file }) => !file.startsWith('src/base/'))
    expectNone(outside.flatMap(({ file, code }) => findAll(file, code, pattern, reason)))
  })

  test.each(everywhere)('%s', (pattern, reason) => {
    expectNone(sources.flatMap(({ file, code }) => findAll(file, code, pattern, reason)))
  })

  test.each(inText)('%s, in comments too', (pattern, reason) => {
    expectNone(sources.flatMap(({ file, text }) => findAll(file, text, pattern, reason)))
  })

  test('console.log( outside of src/cli', () => {
    const outside = sources.filter(({ file }) => !file.startsWith('src/cli/'))
    const reason = 'use the log of src/base/log.ts'
    expectNone(outside.flatMap(({ file, code }) => findAll(file, code, /\bconsole\.log\s*\(/, reason)))
  })
})

describe('names', () => {
  test('src/index.ts exports at most 40 values', () => {
    const index = sources.find(({ file }) => file === 'src/index.ts')
    const names = index ? exportedValues(index.code) : []
    expect(names.length, `src/index.ts:1 exports too much: ${names.join(', ')}`).toBeLessThanOrEqual(40)
  })

  test('no file has a name that says nothing', () => {
    const vague = /(^|[-./])(utils?|helpers?|managers?|handlers?|services?|common)([-./]|$)/
    const wrong = files.filter((file) => file.startsWith('src/') && vague.test(file.slice('src/'.length)))
    expectNone(wrong.map((file) => `${file}:1 must be named after what it does`))
  })

  test('each document has exactly one title', () => {
    const documents = files.filter((file) => /^(docs\/.*|[^/]+)\.md$/.test(file))
    const wrong = documents.flatMap((file) => {
      const titles = titleLines(read(file))
      return titles.length === 1
        ? []
        : [`${file}:${titles[1] ?? 1} has ${titles.length} titles ("# "), not one`]
    })
    expectNone(wrong)
  })
})

describe('documentation', () => {
  test('everything public says what it means', () => {
    expectNone(publicNames().flatMap(({ name, file }) => undocumentedIn(file, name)))
  })
})

describe('mutants', () => {
  test('each names a place that is there once: the list follows the code', () => {
    const lists = files.filter((file) => file.startsWith('scripts/mutants/'))
    const mutants = lists.flatMap(
      (list) => JSON.parse(read(list)) as { name: string; file: string; find: string }[],
    )
    expect(mutants.length).toBeGreaterThan(0)
    const lost = mutants.filter(({ file, find }) => read(file).split(find).length !== 2)
    expectNone(lost.map(({ name, file }) => `${file}:1 has not once what the mutant "${name}" replaces`))
  })
})

describe('leftovers', () => {
  test('no test is focused, skipped or only planned', () => {
    const pattern = /\.(only|skip|todo)\s*[(.]/
    expectNone(testFiles.flatMap(({ file, code }) => findAll(file, code, pattern, 'run it or delete it')))
  })

  test('no file names a path of the machine it was written on', () => {
    // Written so that it does not find itself.
    const pattern = /(?<![\w.-])\/(w[o]rk|r[o]ot)\//
    const wrong = files.flatMap((file) => {
      const text = readFileSync(join(root, file), 'latin1')
      return text.includes('\0') ? [] : findAll(file, text, pattern, 'no other machine has this path')
    })
    expectNone(wrong)
  })
})

/** Names and versions of everything that a manifest depends on. */
function pinsOf(file: string): [string, string][] {
  const { dependencies, devDependencies = {} } = JSON.parse(read(file))
  return [dependencies, devDependencies].flatMap((group) => Object.entries<string>(group))
}

interface Import {
  readonly specifier: string
  readonly line: number
}

interface Source {
  readonly file: string
  readonly text: string
  /** The text with comments and the insides of strings blanked, at the same positions. */
  readonly code: string
  readonly imports: readonly Import[]
}

function readSource(file: string): Source {
  const text = read(file)
  return { file, text, code: blank(text, true), imports: importsIn(blank(text, false), blank(text, true)) }
}

/** Static, dynamic and type imports, re-exports, and files started by URL. `code` tells where real code is. */
function importsIn(text: string, code: string): Import[] {
  const forms = [
    /\b(?:import|export)\b[^'"`;()=]*?\bfrom\s*(['"])(.+?)\1/g,
    /\bimport\s*(['"])(.+?)\1/g,
    /\bimport\s*\(\s*(['"`])(.+?)\1/g,
    /\brequire\s*\(\s*(['"`])(.+?)\1/g,
    /\bnew URL\(\s*(['"`])(\..+?)\1\s*,\s*import\.meta\.url/g,
  ]
  return forms.flatMap((form) =>
    [...text.matchAll(form)]
      .filter((match) => /^(import|export|require|new)/.test(code.slice(match.index)))
      .map((match) => {
        const quoted = match.index + match[0].lastIndexOf(match[2] ?? '')
        return { specifier: match[2] ?? '', line: lineAt(text, quoted) }
      }),
  )
}

function ownImports(source: Source): (Import & { target: string })[] {
  return source.imports
    .filter(({ specifier }) => specifier.startsWith('.'))
    .map((found) => ({ ...found, target: posix.join(posix.dirname(source.file), found.specifier) }))
    .filter(({ target }) => target.startsWith('src/'))
}

function layerOf(file: string): string {
  if (['src/errors.ts', 'src/version.ts'].includes(file)) return 'errors'
  const [, first = '', ...rest] = file.split('/')
  return rest.length === 0 ? 'store' : first
}

function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

/** Names of exported values, types left out. */
function exportedValues(code: string): string[] {
  const lists = [...code.matchAll(/\bexport\s*\{([^}]*)\}/g)].flatMap((match) => (match[1] ?? '').split(','))
  const listed = lists.map((item) => item.trim()).filter((item) => item !== '' && !/^type\s/.test(item))
  const declared = code.matchAll(
    /\bexport\s+(?:default\s+)?(?:async\s+)?(?:abstract\s+)?(?:const|let|class|function\*?|enum)\s+(\w+)/g,
  )
  return [
    ...listed.map((item) => item.split(/\s+as\s+/).at(-1) ?? item),
    ...[...declared].map((match) => match[1] ?? ''),
  ]
}

/** What `src/index.ts` gives out, and the files where it is declared. */
function publicNames(): { readonly name: string; readonly file: string }[] {
  const lists = read('src/index.ts').matchAll(/^export (?:type )?\{([^}]*)\} from '(.+)'$/gm)
  return [...lists].flatMap(([, names = '', path = '']) =>
    names.split(',').map((name) => ({ name: name.trim(), file: posix.join('src', path) })),
  )
}

/** A declaration without a comment, and functions in it without one: methods and getters, also of interfaces. The code is formatted, so lines tell. */
function undocumentedIn(file: string, name: string): string[] {
  const lines = read(file).split('\n')
  const declaration = new RegExp(
    `^export (abstract |async )*(class|interface|type|const|function\\*?) ${name}\\b`,
  )
  const start = lines.findIndex((line) => declaration.test(line))
  if (start < 0) return [`${file}:1 does not declare ${name} where it can be checked`]
  const hasBody = /^export (abstract )?(class|interface) /.test(lines[start] ?? '')
  const end = hasBody ? lines.indexOf('}', start) : start
  // Iterators and disposal mean what the language says they mean.
  const member = /^ {2}(static |async |get |override |\*)*(?!constructor\b)\w+(<.*>)?\(/
  return lines.flatMap((line, i) => {
    const isPart = i === start || (i > start && i < end && member.test(line))
    if (!isPart || lines[i - 1]?.trimEnd().endsWith('*/')) return []
    return [`${file}:${i + 1} ${name}: ${line.trim()} has no comment; say meaning, units, cost, errors`]
  })
}

function titleLines(markdown: string): number[] {
  let fence = ''
  return markdown.split('\n').flatMap((line, index) => {
    const mark = /^\s*(```+|~~~+)/.exec(line)?.[1]
    if (mark && fence === '') fence = mark
    else if (mark?.startsWith(fence)) fence = ''
    return fence === '' && line.startsWith('# ') ? [index + 1] : []
  })
}

/** True when the text has the name as a word of its own, `ws` not being named by `rows`. */
function isNamed(text: string, name: string): boolean {
  const escaped = name.replaceAll(/[^\w]/g, '\\$&')
  return new RegExp(`(?<![\\w-])${escaped}(?![\\w-])`).test(text)
}

/**
 * Blanks comments and, when asked, the insides of strings; positions and lines stay.
 * A slash begins a regular expression where no value can have ended before it.
 */
function blank(text: string, alsoStrings: boolean): string {
  const token =
    /\/\*[^]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|(?<=(?:^|[(,=:[!&|?{};>+]|return|=>)\s*)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/[a-z]*|`|[{}]/g
  const erase = (from: number, to: number) => text.slice(from, to).replaceAll(/[^\n]/g, ' ')
  // One entry for each template literal we are inside an expression of: how many braces are open there.
  const braces: number[] = []
  let result = ''
  let position = 0
  let match: RegExpExecArray | null
  while ((match = token.exec(text))) {
    const found = match[0]
    result += text.slice(position, match.index)
    position = token.lastIndex
    if (found.startsWith('/*') || found.startsWith('//')) result += erase(match.index, position)
    else if (found === '`' || (found === '}' && braces.at(-1) === 0)) {
      if (found === '}') braces.pop()
      const end = templatePartEnd(text, position)
      result += found + (alsoStrings ? erase(position, end) : text.slice(position, end))
      position = token.lastIndex = end
      if (text.startsWith('${', end - 2)) braces.push(0)
    } else if (found === '{' || found === '}') {
      result += found
      if (braces.length > 0) braces.push((braces.pop() ?? 0) + (found === '{' ? 1 : -1))
    } else
      result += alsoStrings ? found.charAt(0) + erase(match.index + 1, position - 1) + found.charAt(0) : found
  }
  return result + text.slice(position)
}

/** Position after the next end of a template literal or after the `${` of an expression within it. */
function templatePartEnd(text: string, start: number): number {
  const end = /^(?:\\[^]|(?!\$\{)[^`\\])*(?:`|\$\{)/.exec(text.slice(start))
  return end ? start + end[0].length : text.length
}

function findAll(file: string, text: string, pattern: RegExp, reason: string): string[] {
  return [...text.matchAll(new RegExp(pattern, 'g'))].map(
    (match) => `${file}:${lineAt(text, match.index)} has ${match[0].trim()}: ${reason}`,
  )
}

function at(file: string, needle: string): string {
  return `${file}:${lineAt(read(file), Math.max(0, read(file).indexOf(needle)))}`
}

function lineAt(text: string, index: number): number {
  return text.slice(0, index).split('\n').length
}

function expectNone(complaints: readonly string[]): void {
  expect(complaints.length, `\n${complaints.join('\n')}\n`).toBe(0)
}

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

/** Every file that is ours, with forward slashes: neither installed, nor built, nor written by a run. */
function listFiles(folder: string): string[] {
  const foreign = /^(\.git|(bench\/)?node_modules|coverage|dist.*|examples\/flights\/out)$|\.log$/
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = relative(root, join(root, folder, entry.name))
      .split(sep)
      .join('/')
    if (foreign.test(path)) return []
    return entry.isDirectory() ? listFiles(path) : entry.isFile() ? [path] : []
  })
}
