/**
 * Markdown to HTML: headings that link to themselves, highlighted code with a button that copies it, links that lead where the
 * site has its pages. What the headings say, and what stands under each, is given back beside the HTML.
 */
import hljs from 'highlight.js/lib/common'
import MarkdownIt from 'markdown-it'

const LANGUAGES = { js: 'javascript', mjs: 'javascript', jsx: 'javascript', ts: 'typescript', tsx: 'typescript', sh: 'bash', html: 'xml', vue: 'xml', svelte: 'xml', toml: 'ini', rust: 'rust', json: 'json', css: 'css', sql: 'sql' }

/** Blocks that use the package. */
const PROGRAMS = /^(js|mjs|jsx|ts|tsx|vue|svelte)\b/

/** The anchor of a heading, as GitHub makes it. */
export function slug(text) {
  return text.toLowerCase().replace(/<[^>]*>/g, '').replace(/[^\p{L}\p{N}\s_-]/gu, '').trim().replace(/\s/g, '-')
}

/**
 * Returns the page's HTML, the ids that links may name, and its sections: `{ level, id, heading, text, code }`, the first of them
 * what stands under the title.
 */
export function markdown(text, { link, name, picture, html: isTrusted = false }) {
  const it = new MarkdownIt({ html: isTrusted, linkify: false, typographer: false })
  const { rules } = it.renderer

  rules.heading_open = (tokens, index) => {
    const { tag, meta } = tokens[index]
    return `<${tag} id="${meta.id}">${meta.isLink ? `<a class="self" href="#${meta.id}">` : ''}`
  }
  rules.heading_close = (tokens, index) => `${tokens[index].meta.isLink ? '</a>' : ''}</${tokens[index].tag}>\n`
  rules.link_open = (tokens, index, options, _, self) => {
    const at = tokens[index].attrIndex('href')
    const href = tokens[index].attrs[at][1]
    tokens[index].attrs[at][1] = link(href)
    // In the repository a page goes by its file, on the site by its name.
    const words = tokens[index + 1]
    if (/^[\w./-]+\.md$/.test(words.content)) words.content = name(href) ?? words.content
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
    const pre = `<pre tabindex="0"${language ? ` data-language="${it.utils.escapeHtml(language)}"` : ''}><code>${html}</code></pre>`
    // Nobody copies a picture made of letters, or the signature of one function.
    const isForUse = name !== undefined && !(isTrusted && code.split('\n').length < 4)
    return `<div class="code">${pre}${isForUse ? '<button type="button" class="copy">Copy<span class="visually-hidden"> this code</span></button>' : ''}</div>\n`
  }
  const table = { open: rules.table_open, close: rules.table_close }
  rules.table_open = (...all) => `<div class="table" tabindex="0" role="group" aria-label="Table">${table.open?.(...all) ?? '<table>\n'}`
  rules.table_close = (...all) => `${table.close?.(...all) ?? '</table>\n'}</div>\n`

  const tokens = it.parse(text.replace(/^<!-- picture: (.+) -->$/gm, (_, name) => `@@picture ${name}@@`), {})
  // What a tool has generated brings anchors of its own: those before headings become theirs, others stay where they are.
  const { ids, sections } = outline(tokens, isTrusted ? [...text.matchAll(/<a id="([^"]+)"><\/a>(?!\n\n#)/g)].map(([, id]) => id) : [])
  const html = it.renderer.render(tokens, it.options, {}).replace(/<p>@@picture (.+?)@@<\/p>/g, (_, name) => `<figure tabindex="0">${picture(name)}</figure>`)
  return { html, ids, sections }
}

/** Gives every heading its anchor, and collects what stands under it. */
function outline(tokens, taken) {
  const own = /^<a id="([^"]+)"><\/a>\s*$/
  const ids = new Set(taken)
  const sections = []
  for (const [index, token] of tokens.entries()) {
    if (token.type === 'heading_open') {
      const before = anchorBefore(tokens, index)
      const words = tokens[index + 1].children.filter(({ type }) => type === 'text' || type === 'code_inline').map(({ content }) => content).join('')
      let id = before ?? slug(words)
      for (let n = 1; ids.has(id); n++) id = `${before ?? slug(words)}-${n}`
      ids.add(id)
      const hasLink = tokens[index + 1].children.some(({ type }) => type === 'link_open')
      token.meta = tokens[index + 2].meta = { id, isLink: token.tag !== 'h1' && !hasLink }
      sections.push({ level: Number(token.tag.slice(1)), id, heading: words, text: '', code: '' })
    } else if (token.type === 'inline' && tokens[index - 1]?.type !== 'heading_open' && sections.length > 0) {
      const words = token.children.map(({ type, content }) => (type === 'text' || type === 'code_inline' ? content : type === 'softbreak' ? ' ' : '')).join('')
      if (!words.startsWith('@@picture')) sections.at(-1).text += `${words} `
    } else if (token.type === 'fence' && PROGRAMS.test(token.info) && sections.length > 0) {
      sections.at(-1).code += token.content
    }
  }
  return { ids, sections }

  function anchorBefore(all, index) {
    // As a block of its own, or as a paragraph that holds nothing else.
    const block = all[index - 1]?.type === 'html_block' ? all[index - 1] : all[index - 1]?.type === 'paragraph_close' ? all[index - 2] : undefined
    const id = own.exec(block?.content ?? '')?.[1]
    if (id === undefined) return undefined
    if (block.type === 'html_block') block.content = ''
    else for (const token of [all[index - 3], block, all[index - 1]]) Object.assign(token, { hidden: true, content: '', children: [] })
    return id
  }
}
