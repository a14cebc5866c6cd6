/** The page around an article. It reads whole without its script, which searches, copies and marks. */

const escape = (text) => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)

const BRAND = '<svg viewBox="0 0 44 28" class="mark" aria-hidden="true"><path class="mark-datum" d="M2 25h40"/><path class="mark-tide" d="M2 18c6.5 0 7-10 13.3-10s7 10 13.4 10S35.5 8 42 8"/><circle class="mark-buoy" cx="28.7" cy="5" r="3"/></svg><span class="wordmark">Tidewire</span>'

/** With fewer sections a page is its own outline. */
const OUTLINED = 3
/** Beyond so many, only those of the first level are listed. */
const LISTED = 32

export function document({ page, sections, base, before, after, nameOf, description }) {
  const item = (each) => `<li><a href="${base}${each.file}"${each.source === page.source ? ' aria-current="page"' : ''}>${escape(nameOf(each))}</a></li>`
  const way = (each, rel, words) => (each ? `<a rel="${rel}" href="${base}${each.file}"><span>${words}</span> ${escape(nameOf(each))}</a>` : '<span></span>')
  const contents = outline(page.sections ?? [])
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="description" content="${escape(description)}">
<title>${escape(page.title)} · Tidewire</title>
<link rel="icon" href="${base}../favicon.svg" type="image/svg+xml">
<link rel="preload" as="font" type="font/woff2" crossorigin href="${base}text.woff2">
<link rel="stylesheet" href="${base}docs.css">
<script type="module" src="${base}docs.js"></script>
</head>
<body>
<a class="skip" href="#article">Skip to the text</a>
<header class="top top-docs">
<p class="brand"><a href="${base}../">${BRAND}</a></p>
<form class="find" role="search">
<label for="find" class="visually-hidden">Search the docs</label>
<input id="find" type="search" placeholder="Search the docs" autocomplete="off" spellcheck="false" role="combobox" aria-expanded="false" aria-controls="found" aria-autocomplete="list">
<kbd aria-hidden="true">/</kbd>
<div id="found" class="found" role="listbox" aria-label="Found" hidden></div>
<p id="status" class="visually-hidden" role="status"></p>
</form>
<nav aria-label="Pages"><ul class="pages"><li><a href="${base}../">Playground</a></li><li><a href="${base}../countries.html">Countries</a></li><li><a href="${base}../bench.html">Benchmark</a></li><li><a href="${base}index.html" aria-current="true">Docs</a></li></ul></nav>
</header>
<div class="docs">
<p class="to-contents"><a href="#contents">All pages of the docs</a></p>
${contents && `<details class="outline"><summary>On this page</summary>${contents}</details>
<nav class="outline outline-wide" aria-labelledby="outline-title"><h2 id="outline-title">On this page</h2>${contents}</nav>`}
<main id="article" class="article" tabindex="-1">
${page.html}
<nav class="ways" aria-label="Before and after">${way(before, 'prev', 'Before:')}${way(after, 'next', 'Next:')}</nav>
</main>
<nav id="contents" class="contents" aria-label="Documentation">
${sections.map(({ title, pages }) => `<h2>${escape(title)}</h2>\n<ul>${pages.map(item).join('')}</ul>`).join('\n')}
</nav>
</div>
</body>
</html>
`
}

/** For every address that leads nowhere: whatever it was, what this page needs is found from the root. */
export function missing({ sections, nameOf }) {
  const html = `<h1>There is nothing here</h1>
<p>The address leads to no page. It may have been mistyped, or the page has another name now: the search above and the list beside this text know all of them.</p>
<p><a href="/">The playground</a> · <a href="/docs/index.html">Getting started</a></p>`
  return document({ page: { title: 'Not found', html, source: '' }, sections, base: '/docs/', nameOf, description: 'No page has this address.' })
    .replace('<meta name="color-scheme"', '<meta name="robots" content="noindex">\n<meta name="color-scheme"')
    .replace('<nav class="ways" aria-label="Before and after"><span></span><span></span></nav>\n', '')
}

function outline(all) {
  const under = all.filter(({ level }) => level === 2 || level === 3)
  const listed = under.length > LISTED ? under.filter(({ level }) => level === 2) : under
  if (listed.length < OUTLINED) return ''
  return `<ul>${listed.map(({ level, id, heading }) => `<li${level === 3 ? ' class="is-under"' : ''}><a href="#${id}">${escape(heading)}</a></li>`).join('')}</ul>`
}
