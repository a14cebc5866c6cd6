/** The API reference: made by TypeDoc from the types of every entry point that the package exports. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { Application } from 'typedoc'

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
      ...modules.map(({ source, name, text }) => ({ source, text: text.replace(/^# .*$/m, `# ${name}`).replaceAll('(index-1.md', '(tidewire.md'), isGenerated: true })),
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

function index(modules) {
  return `# API reference

Made from the types of the package; every name stands under the entry point that exports it.

${modules.map(({ name, source, text }) => `## [${name}](${source.replace('api/', '')})

${names(text).map((name) => (text.includes(`<a id="${name.toLowerCase()}"></a>`) ? `[\`${name}\`](${source.replace('api/', '')}#${name.toLowerCase()})` : `\`${name}\``)).join(', ')}
`).join('\n')}`
}

/** What a module exports. */
function names(text) {
  return [...text.matchAll(/^## (.+)$/gm)].map(([, title]) => title.replace(/\\|\(\)$/g, ''))
}
