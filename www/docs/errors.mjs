/**
 * The page of all error codes: numbers, names and meanings from the sources, what to do from `docs/errors.json`.
 *
 *   node docs/errors.mjs      writes docs/errors.md anew
 */
import { readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** All codes there are: of the server, of closed connections, of the package alone. */
export function codes(root) {
  const rust = readFileSync(join(root, 'src/protocol/code.rs'), 'utf8')
  const facade = readFileSync(join(root, 'pkg/src/errors.ts'), 'utf8')
  const server = variants(rust, 'ErrorCode').map((code) => ({ ...code, retryable: code.number >= 100 }))
  const close = variants(rust, 'CloseCode').map((code) => ({ ...code, isTerminal: code.number >= 4500 }))
  const union = /export type ErrorCode =([^;]*);/.exec(facade)?.[1]
  if (!union) throw new Error('pkg/src/errors.ts has no type ErrorCode')
  const names = [...union.matchAll(/'(\w+)'/g)].map(([, name]) => name)
  return { server, close, facade: names }
}

/** The variants of a Rust enum with their numbers, names on the wire and first sentence of documentation. */
function variants(rust, name) {
  const body = new RegExp(`pub enum ${name} \\{([^]*?)\\n\\}`).exec(rust)?.[1]
  if (!body) throw new Error(`src/protocol/code.rs has no enum ${name}`)
  return [...body.matchAll(/((?:\s*\/\/\/[^\n]*\n)+)\s*(\w+) = (\d+),/g)].map(([, doc, variant, number]) => ({
    name: variant.replace(/(?<!^)([A-Z])/g, '_$1').toLowerCase(),
    number: Number(number),
    meaning: doc.replace(/\s*\/\/\/ ?/g, ' ').trim(),
  }))
}

export function texts(root) {
  return JSON.parse(readFileSync(join(root, 'docs/errors.json'), 'utf8'))
}

/** The codes that nobody has said anything about, and the texts about codes that do not exist. */
export function gaps(root) {
  const { server, close, facade } = codes(root)
  const { errors, closes } = texts(root)
  const known = new Set([...server.map(({ name }) => name), ...facade])
  return [
    ...[...known].filter((name) => !errors[name]?.do || !(errors[name].meaning || server.some((code) => code.name === name))).map((name) => `no text for ${name}`),
    ...close.filter(({ number }) => !closes[number]).map(({ number }) => `no text for close code ${number}`),
    ...Object.keys(errors).filter((name) => !known.has(name)).map((name) => `a text for ${name}, which does not exist`),
    ...Object.keys(closes).filter((number) => !close.some((code) => String(code.number) === number)).map((number) => `a text for close code ${number}, which does not exist`),
  ]
}

export function errorsPage(root) {
  const { server, close, facade } = codes(root)
  const { errors, closes } = texts(root)
  const numbered = new Map(server.map((code) => [code.name, code]))
  const names = [...new Set([...numbered.keys(), ...facade])]
  const entry = (name) => {
    const code = numbered.get(name)
    const { meaning, do: what, retryable } = textOf(errors, name)
    const again = retryable ?? code?.retryable ?? false
    const facts = [
      `Retryable: ${again === 'sometimes' ? 'sometimes, the error says' : again ? 'yes' : 'no'}.`,
      ...(code ? [`On the wire: ${code.number}.`] : []),
    ]
    return `### ${name}\n\n${meaning ?? code.meaning} ${facts.join(' ')}\n\n**What to do.** ${what}\n`
  }
  const ofServer = names.filter((name) => numbered.has(name))
  const ofPackage = names.filter((name) => !numbered.has(name))
  return `# Errors

Everything that the package throws, rejects with or raises is a \`TidewireError\`: \`code\` for programs, \`message\` for people,
\`retryable\` if the same call may succeed later, and \`cause\` for what lies beneath. This page is made from the sources by
\`npm run errors --workspace www\`.

| code | retryable | meaning |
|---|---|---|
${names.map((name) => `| [\`${name}\`](#${name}) | ${retry(textOf(errors, name).retryable ?? numbered.get(name)?.retryable ?? false)} | ${(textOf(errors, name).meaning ?? numbered.get(name).meaning).split('. ')[0].replace(/\.$/, '')} |`).join('\n')}

## From the server

The answer to a request or a subscription. A denied subscription raises \`error\` with the code [\`denied\`](#denied) and the server's words.

${ofServer.map(entry).join('\n')}
## From the package

${ofPackage.map(entry).join('\n')}
## When a connection ends

Clients come back by themselves, or stay away where coming back unchanged would end the same way: then \`client.status()\` is
\`closed\` with an error. For those who look at a network panel, or write a client:

| close code | name | comes back | meaning | what to do |
|---|---|---|---|---|
${close.map(({ number, name, meaning, isTerminal }) => `| ${number} | \`${name}\` | ${isTerminal ? 'no' : 'yes'} | ${meaning} | ${closes[number]} |`).join('\n')}
`
}

/** The tests refuse a code without a text; a page in the making shows it all the same. */
function textOf(errors, name) {
  return errors[name] ?? { meaning: 'The message says what happened.', do: 'Read the message.' }
}

function retry(value) {
  return value === 'sometimes' ? 'sometimes' : value ? 'yes' : 'no'
}

if (realpathSync(process.argv[1] ?? '.') === fileURLToPath(import.meta.url)) {
  const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
  writeFileSync(join(root, 'docs/errors.md'), errorsPage(root))
}
