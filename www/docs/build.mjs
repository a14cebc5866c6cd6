/**
 * Builds the docs site: the Markdown of the repository, the API reference from the types, the errors from the sources, the index
 * of the search. A link that leads nowhere ends the build.
 *
 *   node docs/build.mjs [out]      default: dist/docs
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { apiPages, withExamples } from './api.mjs'
import { errorsPage } from './errors.mjs'
import { markdown, slug } from './markdown.mjs'
import { NAMES, SECTIONS } from './pages.mjs'
import { index, shorten } from './search.mjs'
import { document, missing } from './template.mjs'

const HERE = dirname(fileURLToPath(import.meta.url))
const ROOT = join(HERE, '../..')
const OUT = process.argv[2] ?? join(HERE, '../dist/docs')
const REPOSITORY = JSON.parse(readFileSync(join(ROOT, 'pkg/package.json'), 'utf8')).repository.url.replace(/\.git$/, '')
const FONT = '@fontsource-variable/instrument-sans/files/instrument-sans-latin-wdth-normal.woff2'

rmSync(OUT, { recursive: true, force: true })
mkdirSync(join(OUT, 'api'), { recursive: true })

/** source -> { file, title, html, ids, sections } */
const pages = new Map()
for (const { source, text, isGenerated } of await sources()) pages.set(source, { source, file: fileOf(source), text, isGenerated, title: titleOf(text, source) })
for (const page of pages.values()) {
  // The docs come before what is generated, and so their code is known.
  if (page.isGenerated) page.text = withExamples(page.text, [...pages.values()].filter(({ source, sections }) => sections && source.startsWith('docs/')).map((each) => ({ ...each, title: nameOf(each) })))
  Object.assign(page, markdown(page.text, { link: (href) => link(page, href), name: (href) => named(page, href), picture, html: page.isGenerated }))
}
checkAnchors()

const order = [...inOrder()]
for (const [at, page] of order.entries()) {
  const html = document({ page, sections: sections(), base: '../'.repeat(page.file.split('/').length - 1), before: order[at - 1], after: order[at + 1], nameOf, description: describe(page) })
  mkdirSync(dirname(join(OUT, page.file)), { recursive: true })
  writeFileSync(join(OUT, page.file), html)
}
const first = order[0]
writeFileSync(join(OUT, 'index.html'), document({ page: { ...first, file: 'index.html' }, sections: sections(), base: '', after: order[1], nameOf, description: describe(first) }))
// Beside the docs, where a host looks for it.
if (process.argv[2] === undefined) writeFileSync(join(OUT, '../404.html'), missing({ sections: sections(), nameOf }))
writeFileSync(join(OUT, 'search.json'), index(order))
await script()
const styles = ['tokens', 'base', 'brand', 'top', 'docs'].map((name) => readFileSync(join(HERE, `../src/styles/${name}.css`), 'utf8'))
writeFileSync(join(OUT, 'docs.css'), styles.join('\n'))
copyFileSync(createRequire(import.meta.url).resolve(FONT), join(OUT, 'text.woff2'))
for (const name of readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.png'))) copyFileSync(join(ROOT, 'docs', name), join(OUT, name))
console.log(`docs: ${pages.size} pages in ${OUT}`)

async function sources() {
  const read = (source) => ({ source, text: readFileSync(join(ROOT, source), 'utf8') })
  const named = SECTIONS.flatMap(({ pages }) => pages).filter((source) => source.endsWith('.md') && existsSync(join(ROOT, source)))
  const others = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)
  return [
    ...[...new Set([...named, ...others])].map((source) => (source === 'docs/errors.md' ? { source, text: errorsPage(ROOT) } : read(source))),
    ...(await apiPages(ROOT)),
  ]
}

function fileOf(source) {
  if (source === 'api') return 'api/index.html'
  return `${source.replace(/^docs\//, '').replace(/\.md$/, '').toLowerCase()}.html`
}

/** What the page's own beginning says. */
function describe({ title, sections: [, ...under], sections: [top] }) {
  const text = [top, ...under].find((section) => section.text.trim() !== '')?.text ?? title
  return shorten(text.replace(/\[!\w+\]/g, ''), 158)
}

/** The one script of all pages. */
async function script() {
  await build({
    configFile: false,
    root: HERE,
    logLevel: 'warn',
    build: {
      target: 'es2022', outDir: OUT, emptyOutDir: false, copyPublicDir: false,
      lib: { entry: join(HERE, 'client/main.mjs'), formats: ['es'], fileName: () => 'docs.js' },
    },
  })
}

function titleOf(text, source) {
  const title = /^# (.+)$/m.exec(text)?.[1]
  if (!title) throw new Error(`${source} has no title`)
  return title.replace(/[`\\]/g, '')
}

function nameOf(page) {
  return NAMES[page.source] ?? page.title
}

/** The sidebar, without pages that do not exist and with those that nobody named. */
function sections() {
  const named = new Set(SECTIONS.flatMap(({ pages }) => pages))
  const others = [...pages.keys()].filter((source) => !named.has(source) && !source.startsWith('api/'))
  return [...SECTIONS, { title: 'More', pages: others }]
    .map(({ title, pages: names }) => ({ title, pages: names.flatMap((name) => pages.get(name) ?? []) }))
    .filter(({ pages: found }) => found.length > 0)
}

function* inOrder() {
  const listed = sections().flatMap(({ pages: found }) => found)
  yield* listed
  for (const page of pages.values()) if (!listed.includes(page)) yield page
}

/** The name of the page that a link of a source leads to, if it leads to one. */
function named({ source }, href) {
  const target = pages.get(posix.normalize(posix.join(posix.dirname(source), href.split('#')[0])))
  return target && nameOf(target)
}

/** Where a link of a source leads on the site: to a page, or to the repository. */
function link(page, href) {
  if (/^[a-z]+:/.test(href)) return href
  const [path, anchor] = href.split('#')
  const from = posix.dirname(page.source === 'api' ? 'api/index.md' : page.source)
  const target = path === '' ? page.source : posix.normalize(posix.join(from, path))
  const source = [target, target === 'api/index.md' && 'api', target === 'docs/api.md' && 'api'].find((name) => name && pages.has(name))
  if (source === undefined) {
    if (target.endsWith('.png')) return posix.relative(posix.dirname(page.file), posix.basename(target))
    if (!existsSync(join(ROOT, target))) throw new Error(`${page.source} links to ${href}, which does not exist`)
    return `${REPOSITORY}/blob/main/${target}`
  }
  ;(page.anchors ??= []).push({ source, anchor, href })
  const file = pages.get(source).file
  const relative = file === page.file ? '' : posix.relative(posix.dirname(page.file), file)
  return anchor === undefined ? relative || '#' : `${relative}#${anchor}`
}

function picture(name) {
  return readFileSync(join(HERE, `${slug(name)}.svg`), 'utf8').replace(/<!--[^]*?-->\n?/g, '')
}

function checkAnchors() {
  for (const page of pages.values()) {
    for (const { source, anchor, href } of page.anchors ?? []) {
      if (anchor !== undefined && !pages.get(source).ids.has(anchor)) throw new Error(`${page.source} links to ${href}, but there is no such heading`)
    }
  }
}
