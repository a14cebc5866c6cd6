/** Markdown to HTML: headings with anchors, highlighted code, links that lead where the site has its pages. */
import hljs from 'highlight.js/lib/common'
import MarkdownIt from 'markdown-it'

const LANGUAGES = { js: 'javascript', mjs: 'javascript', jsx: 'javascript', ts: 'typescript', tsx: 'typescript', sh: 'bash', html: 'xml', vue: 'xml', svelte: 'xml', toml: 'ini', rust: 'rust', json: 'json', css: 'css', sql: 'sql' }

/** The anchor of a heading, as GitHub makes it. */
export function slug(text) {
  return text.toLowerCase().replace(/<[^>]*>/g, '').replace(/[^\p{L}\p{N}\s_-]/gu, '').trim().replace(/\s/g, '-')
}

/** Returns the page's HTML, and the ids that links may name. */
export function markdown(text, { link, picture, html: isTrusted = false }) {
  // What a tool has generated brings its own anchors.
  const ids = new Set(isTrusted ? [...text.matchAll(/<a id="([^"]+)"><\/a>/g)].map(([, id]) => id) : [])
  const it = new MarkdownIt({ html: isTrusted, linkify: false, typographer: false })
  const { rules } = it.renderer

  rules.heading_open = (tokens, index) => {
    const words = tokens[index + 1].children.filter(({ type }) => type === 'text' || type === 'code_inline').map(({ content }) => content).join('')
    const plain = slug(words)
    let id = plain
    for (let n = 1; ids.has(id); n++) id = `${plain}-${n}`
    ids.add(id)
    return `<${tokens[index].tag} id="${id}">`
  }
  rules.link_open = (tokens, index, options, _, self) => {
    const at = tokens[index].attrIndex('href')
    tokens[index].attrs[at][1] = link(tokens[index].attrs[at][1])
    return self.renderToken(tokens, index, options)
  }
  const image = rules.image
  rules.image = (tokens, index, ...rest) => {
    const at = tokens[index].attrIndex('src')
    tokens[index].attrs[at][1] = link(tokens[index].attrs[at][1])
    return image(tokens, index, ...rest)
  }
  rules.fence = (tokens, index) => {
    const language = tokens[index].info.split(/\s/, 1)[0]
    const name = LANGUAGES[language]
    const code = tokens[index].content
    const html = name ? hljs.highlight(code, { language: name }).value : it.utils.escapeHtml(code)
    // It may scroll sideways: then the keyboard has to reach it.
    return `<pre tabindex="0"${language ? ` data-language="${it.utils.escapeHtml(language)}"` : ''}><code>${html}</code></pre>\n`
  }
  const table = { open: rules.table_open, close: rules.table_close }
  rules.table_open = (...all) => `<div class="table" tabindex="0" role="group" aria-label="Table">${table.open?.(...all) ?? '<table>\n'}`
  rules.table_close = (...all) => `${table.close?.(...all) ?? '</table>\n'}</div>\n`

  const html = it
    .render(text.replace(/^<!-- picture: (.+) -->$/gm, (_, name) => `@@picture ${name}@@`))
    .replace(/<p>@@picture (.+?)@@<\/p>/g, (_, name) => `<figure tabindex="0">${picture(name)}</figure>`)
  return { html, ids }
}
