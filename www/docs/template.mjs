/** The page around an article. No script: there is nothing here that needs one. */

const escape = (text) => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)

export function document({ page, sections, base, before, after, nameOf }) {
  const item = (each) => `<li><a href="${base}${each.file}"${each.source === page.source ? ' aria-current="page"' : ''}>${escape(nameOf(each))}</a></li>`
  const way = (each, rel, words) => (each ? `<a rel="${rel}" href="${base}${each.file}"><span>${words}</span> ${escape(nameOf(each))}</a>` : '<span></span>')
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="description" content="${escape(page.title)}: documentation of Tidewire, server-authoritative records that are live in browsers.">
<title>${escape(page.title)} · Tidewire</title>
<link rel="icon" href="${base}../favicon.svg" type="image/svg+xml">
<link rel="preload" as="font" type="font/woff2" crossorigin href="${base}text.woff2">
<link rel="stylesheet" href="${base}docs.css">
</head>
<body>
<a class="skip" href="#article">Skip to the text</a>
<header class="top">
<p class="brand"><a href="${base}../"><svg viewBox="0 0 44 28" class="mark" aria-hidden="true"><path class="mark-datum" d="M2 25h40"/><path class="mark-tide" d="M2 18c6.5 0 7-10 13.3-10s7 10 13.4 10S35.5 8 42 8"/><circle class="mark-buoy" cx="28.7" cy="5" r="3"/></svg><span class="wordmark">Tidewire</span></a></p>
<nav aria-label="Pages"><ul class="pages"><li><a href="${base}../">Playground</a></li><li><a href="${base}../countries.html">Countries</a></li><li><a href="${base}../bench.html">Benchmark</a></li><li><a href="${base}index.html" aria-current="true">Docs</a></li></ul></nav>
</header>
<div class="docs">
<p class="to-contents"><a href="#contents">All pages of the docs</a></p>
<main id="article" class="article">
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
