/**
 * The API reference: made by TypeDoc from the types of every entry point that the package exports. Each name is followed by the
 * sections of the docs whose code uses it: that code is run by the tests, so an example here cannot be wrong for long.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { Application } from 'typedoc'

/** What each entry point is for. */
const PURPOSE = {
  tidewire: 'The client: connections, replicas, collections, services and transports. In browsers it loads its WebAssembly by `fetch`; `tidewire/inline` has the same names, with the WebAssembly inside the script.',
  'tidewire/inspector': 'What became of every envelope, as an element for any page and as a log: [how to use it](../docs/inspector.md).',
  'tidewire/nats': 'Envelopes over NATS, without WebAssembly: [the recipe](../docs/nats.md).',
  'tidewire/react': 'Hooks for React, for components that render on a server too: [the recipe](../docs/react.md).',
  'tidewire/vue': 'Composables for Vue 3, for components that render on a server too: [the recipe](../docs/vue.md).',
  'tidewire/svelte': 'What Svelte 5 components read, on a server too: [the recipe](../docs/svelte.md).',
  'tidewire/solid': 'Accessors for Solid, for components that render on a server too: [the recipe](../docs/solid.md).',
  'tidewire/signals': 'Cells made of the signals that TC39 discusses: [the recipe](../docs/signals.md).',
  'tidewire/store': 'The contract that all adapters are made of, for [one of your own](../docs/signals.md).',
  'tidewire/server': 'The reference server, in this page or process.',
  'tidewire/testing': 'The server with faults, and a clock that the test moves: [the recipe](../docs/testing.md).',
  'tidewire/ssr': 'From a server that renders to the page that goes on: [the recipe](../docs/ssr.md).',
  'tidewire/slim': 'The same as `tidewire`, for those who bring the WebAssembly themselves.',
}

/** Longer lists of examples help nobody. */
const EXAMPLES = 3

export async function apiPages(root) {
  const out = mkdtempSync(join(tmpdir(), 'tidewire-api-'))
  try {
    const app = await Application.bootstrapWithPlugins({
      entryPoints: entryPoints(root),
      tsconfig: join(root, 'pkg/tsconfig.build.json'),
      plugin: ['typedoc-plugin-markdown'],
      out,
      router: 'module',
      readme: 'none',
      name: 'API reference',
      excludeInternal: true,
      excludePrivate: true,
      excludeExternals: true,
      useHTMLAnchors: true,
      disableSources: true,
      hidePageHeader: true,
      hideBreadcrumbs: true,
      hideGroupHeadings: true,
      // What one calls comes before what one passes to it.
      groupOrder: ['Functions', 'Classes', 'Interfaces', 'Type Aliases', 'Variables', '*'],
      useCodeBlocks: true,
      parametersFormat: 'table',
      interfacePropertiesFormat: 'table',
      propertiesFormat: 'table',
      enumMembersFormat: 'table',
      entryFileName: 'index',
      modulesFileName: 'index',
      logLevel: 'Warn',
      skipErrorChecking: true,
    })
    const project = await app.convert()
    if (!project) throw new Error('TypeDoc could not read the types; the errors are above')
    await app.generateOutputs(project)
    const modules = readdirSync(out)
      .filter((file) => file.endsWith('.md') && file !== 'index.md')
      .map((file) => ({ ...named(file), text: readFileSync(join(out, file), 'utf8') }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
    return [
      { source: 'api', text: index(modules) },
      ...modules.map(({ source, name, text }) => ({ source, text: tidy(name, text), isGenerated: true })),
    ]
  } finally {
    rmSync(out, { recursive: true, force: true })
  }
}

/** The sources of the declarations that package.json names. */
function entryPoints(root) {
  const { exports } = JSON.parse(readFileSync(join(root, 'pkg/package.json'), 'utf8'))
  const types = JSON.stringify(exports).match(/dist\/types\/[^"]+\.d\.ts/g) ?? []
  return [...new Set(types)].flatMap((file) => {
    const stem = join(root, 'pkg', file.replace('dist/types', 'src').replace(/\.d\.ts$/, ''))
    return [`${stem}.ts`, `${stem}.tsx`].filter((path) => existsSync(path))
  })
}

/** The entry point's own name: `tidewire/server` instead of the file that it is written in. */
function named(file) {
  const stem = basename(file, '.md').replace(/^index-1$/, '')
  return { source: `api/${stem || 'tidewire'}.md`, name: stem === '' ? 'tidewire' : `tidewire/${stem}` }
}

/** Leaves out what says nothing, and begins with what the entry point is for. */
function tidy(name, text) {
  return text
    .replace(/^# .*$/m, `# ${name}\n\n${PURPOSE[name] ?? ''}`)
    .replaceAll('(index-1.md', '(tidewire.md')
    .replace(/^#{3,6} Returns\n\n`void`\n\n/gm, '')
    .replace(/^#{3,6} (Implementation of|Overrides|Inherited from)\n\n.+\n\n/gm, '')
}

/**
 * The text of a generated page, with the places where the docs use its names. `docs`: the pages `{ source, title, sections }`.
 */
export function withExamples(text, docs) {
  const lines = text.split('\n')
  const members = new Map()
  for (const [, name] of text.matchAll(/^#### (\w+)\(\)$/gm)) members.set(name, (members.get(name) ?? 0) + 1)
  const out = []
  let pending = ''
  for (const line of lines) {
    const heading = /^(#{2,6}) (\w+)?(?:<.*>)?(\(\))?$/.exec(line.replace(/\\/g, ''))
    if (/^(#{1,6} |<a id=|\*\*\*)/.test(line) && pending !== '') {
      out.push(pending, '')
      pending = ''
    }
    out.push(line)
    if (!heading?.[2]) continue
    const [, marks, name, isCalled] = heading
    // A member's name alone does not say whose it is, unless it is the only one.
    if (marks === '##') pending = used(new RegExp(`(?<![.\\w])${name}\\b`), docs)
    else if (marks === '####' && isCalled && members.get(name) === 1) pending = used(new RegExp(`\\.${name}\\(`), docs)
  }
  return [...out, pending].join('\n')
}

function used(pattern, docs) {
  const found = docs.flatMap(({ source, title, sections }) => {
    const section = sections.find(({ code }) => pattern.test(code.replace(/^import .*$/gm, '')))
    return section ? [`[${title}${section.level > 1 ? `: ${section.heading.toLowerCase() === title.toLowerCase() ? '' : section.heading}` : ''}](../${source}${section.level > 1 ? `#${section.id}` : ''})`] : []
  })
  return found.length === 0 ? '' : `**Example:** ${found.slice(0, EXAMPLES).join(', ')}.`
}

function index(modules) {
  return `# API reference

Made from the types of the package; every name stands under the entry point that exports it, with links to the examples that use it.

${modules.map(({ name, source, text }) => {
  const file = source.replace('api/', '')
  const { own, others } = names(text)
  return `## [${name}](${file})

${PURPOSE[name] ?? ''}

${own.map(({ title, id }) => `[\`${title}\`](${file}#${id})`).join(', ')}${others > 0 ? `${own.length > 0 ? ', and' : ''} ${others} names of other entry points` : ''}
`
}).join('\n')}`
}

/** What a module exports, and how many names it only passes on. */
function names(text) {
  const all = [...text.matchAll(/^<a id="(.+)"><\/a>\n\n## (.+)\n\n(Re-exports)?/gm)].map(([, id, title, isOther]) => ({ id, title: title.replace(/\\|\(\)$/g, ''), isOther: isOther !== undefined }))
  const own = all.filter(({ isOther }) => !isOther)
  return { own, others: all.length - own.length }
}
