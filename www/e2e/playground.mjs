/**
 * The playground, the docs and what they have in common: no layout shift, nothing for axe to find, both widths, light and dark.
 *
 * Test ids of the playground
 *   scene, story            the picture, and the sentence under it        server-sequence, you-sequence, bob-sequence
 *   you-last, bob-last      what became of the last envelope              loss, delay, duplication, reordering
 *   you-status, bob-status  the replica's status                          second, place-page, place-wire
 *   write, lose, double, spoil, strand   one of each outcome, for you     run, restart: the gauge, the server
 *   inspector               <tidewire-inspector>, whose shadow tree is open
 */
import { strict as assert } from 'node:assert'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

export async function checkPlayground({ context, url, screenshots, asserting, until, listen }) {
  const page = await context.newPage()
  listen(page, 'playground')
  await watchShifts(page)
  await page.goto(url)
  const number = async (id) => Number(await page.getByTestId(id).innerText())
  const inspector = page.getByTestId('inspector')
  const track = (name) => inspector.locator('section', { has: page.getByRole('heading', { name, exact: true }) })
  const count = async (name, outcome) => Number(await track(name).locator('.lane', { hasText: outcome }).locator('b').innerText())
  const slide = (id, value) => page.getByTestId(id).fill(String(value))

  await asserting('the playground starts by itself: the server numbers changes, and both copies follow', async () => {
    await until('the server has numbered three changes', async () => (await number('server-sequence')) >= 3)
    await until('both copies have a value', async () => (await number('you-sequence')) >= 1 && (await number('bob-sequence')) >= 1)
    await until('an envelope was applied', async () => (await count('You', 'applied')) > 0 && (await count('Bob', 'applied')) > 0)
  })

  await asserting('a network that loses, doubles and overtakes shows as gaps, refetches and ignored ones, each with its reason', async () => {
    for (const [id, value] of [['loss', 40], ['duplication', 40], ['reordering', 30], ['delay', 100]]) await slide(id, value)
    await until('a gap, a refetch and something ignored', async () => (await count('You', 'gap')) > 0 && (await count('You', 'refetch')) > 0 && (await count('You', 'ignored')) > 0, 20_000)
    await until('an envelope waits in front of a copy', async () => (await page.locator('.chip-held').count()) > 0, 20_000)
    const plot = track('You').getByRole('slider')
    await plot.focus()
    await page.keyboard.press('ArrowLeft')
    await page.keyboard.press('ArrowLeft')
    const reason = await track('You').locator('.why').innerText()
    assert.match(reason, /^(applied|ignored|gap|refetch|lost|quarantined) \S/)
    assert.equal(await plot.getAttribute('aria-valuetext'), reason)
    // What a reader has chosen stays, whatever runs by.
    await page.waitForTimeout(1_000)
    assert.equal(await track('You').locator('.why').innerText(), reason)
    assert.equal(await plot.getAttribute('aria-valuetext'), reason)
    await page.keyboard.press('Home')
    assert.match(await track('You').locator('.why').innerText(), /\S/)
    await page.screenshot({ path: join(screenshots, 'playground-1280-light.png'), fullPage: true })
    await page.emulateMedia({ colorScheme: 'dark' })
    await page.screenshot({ path: join(screenshots, 'playground-1280-dark.png'), fullPage: true })
    await page.emulateMedia({ colorScheme: 'light' })
  })

  await asserting('in calm weather both copies reach the server again, whatever was lost', async () => {
    for (const id of ['loss', 'duplication', 'reordering', 'delay']) await slide(id, 0)
    await until('both are where the server is', async () => {
      const server = await number('server-sequence')
      return (await number('you-sequence')) >= server && (await number('bob-sequence')) >= server
    })
  })

  await asserting('each thing that can happen to an envelope can be had for a click', async () => {
    const more = async (outcome, button) => {
      const before = await count('You', outcome)
      await page.getByTestId(button).click()
      await until(`${button} shows as ${outcome}`, async () => (await count('You', outcome)) > before)
    }
    const flag = await page.locator('#you-flag').innerText()
    await more('applied', 'write')
    // Were its envelope the lost one, the answer to the write would tell of it, and there would be no gap.
    await until('what was written shows', async () => (await page.locator('#you-flag').innerText()) !== flag)
    await more('gap', 'lose')
    await until('it is closed', async () => (await page.getByTestId('you-status').innerText()) === 'ok')
    await more('ignored', 'double')
    assert.match(await page.getByRole('status').innerText(), /come twice/, 'one live region, for what a visitor did')
    await page.getByTestId('strand').click()
    await until('the copy says that it is stale', async () => (await page.getByTestId('you-status').innerText()) === 'stale')
    assert.match(await page.locator('#you-level').innerText(), /^\d\.\d\d m$/)
    await until('and heals', async () => (await page.getByTestId('you-status').innerText()) === 'ok' && (await page.locator('#you-link').innerText()) === 'live', 20_000)
  })

  await asserting('a bad value is kept apart, and the copies go on showing a good one', async () => {
    await page.getByTestId('spoil').click()
    await until('it is quarantined in both', async () => (await count('You', 'quarantined')) > 0 && (await count('Bob', 'quarantined')) > 0)
    assert.match(await page.locator('#you-level').innerText(), /^\d\.\d\d m$/)
  })

  await asserting('a flag that one sets is seen by the other', async () => {
    const flag = (await page.locator('#bob-flag').innerText()) === 'red' ? 'amber' : 'red'
    await page.locator(`[data-flag=${flag}]`).first().click()
    await until('Bob sees it', async () => (await page.locator('#bob-flag').innerText()) === flag)
  })

  await asserting('after a restart both come back by themselves', async () => {
    await page.getByTestId('restart').click()
    await until('they are away', async () => (await page.locator('#you-link').innerText()) !== 'live')
    await until('they are live', async () => (await page.locator('#you-link').innerText()) === 'live' && (await page.locator('#bob-link').innerText()) === 'live', 20_000)
  })

  await asserting('Bob can leave and come back, and the gauge can be paused', async () => {
    await page.getByTestId('second').uncheck()
    await until('his track is gone', async () => (await track('Bob').count()) === 0)
    await page.getByTestId('second').check()
    await until('he is back', async () => (await track('Bob').count()) === 1 && (await number('bob-sequence')) > 0)
    await page.getByTestId('run').click()
    const at = await number('server-sequence')
    await page.waitForTimeout(1_100)
    assert.ok((await number('server-sequence')) <= at + 1)
    await page.getByTestId('run').click()
  })

  await asserting('the same over the WebSocket', async () => {
    await page.getByTestId('place-wire').check()
    await until('both copies follow the native server', async () => {
      const server = await number('server-sequence')
      return server > 0 && (await number('you-sequence')) >= server - 2 && (await number('bob-sequence')) > 0
    })
    assert.equal(await page.locator('#server-note').innerText(), 'native, over a WebSocket')
  })

  await asserting('the playground moved nothing that was there, and axe finds nothing', async () => {
    assert.ok((await shifts(page)) < 0.001, `layout shift of ${await shifts(page)}`)
    await axe(page)
    await page.emulateMedia({ colorScheme: 'dark' })
    await axe(page, ['color-contrast'])
  })

  await asserting('at phone width nothing sticks out sideways', async () => {
    await page.setViewportSize({ width: 390, height: 844 })
    await fits(page)
    await page.screenshot({ path: join(screenshots, 'playground-390-dark.png'), fullPage: true })
    await page.emulateMedia({ colorScheme: 'light' })
    await page.screenshot({ path: join(screenshots, 'playground-390-light.png'), fullPage: true })
    await axe(page)
  })

  await asserting('who prefers less motion finds a page that stands still until it is started', async () => {
    await page.emulateMedia({ reducedMotion: 'reduce' })
    await page.reload()
    await until('it is there', async () => (await number('you-sequence')) >= 1)
    const at = await number('server-sequence')
    await page.waitForTimeout(1_100)
    assert.equal(await number('server-sequence'), at)
    await page.getByTestId('run').click()
    await until('it runs', async () => (await number('server-sequence')) > at)
    assert.equal(await page.locator('.dot').count(), 0)
  })
  await page.close()
}

export async function checkDocs({ context, url, screenshots, asserting, listen }) {
  const page = await context.newPage()
  listen(page, 'docs')
  await page.setViewportSize({ width: 1280, height: 900 })
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' })
  await watchShifts(page)

  await asserting('every link of every page of the docs leads somewhere, down to its heading', async () => {
    await page.goto(new URL('docs/', url).href)
    assert.equal(await page.locator('h1').innerText(), 'Getting started')
    const pages = await crawl(new URL('docs/index.html', url))
    assert.ok(pages.size >= 40, `${pages.size} pages`)
    for (const [href, { description }] of pages) assert.ok(description.length > 20, `${href} is described as "${description}"`)
  })

  await asserting('the docs are searched by keyboard alone', async () => {
    await page.keyboard.press('Tab')
    await page.keyboard.press('Tab')
    assert.equal(await page.evaluate(() => document.activeElement.closest('.brand') !== null), true, 'the name leads to the first page')
    await page.keyboard.press('/')
    assert.equal(await page.evaluate(() => document.activeElement.id), 'find')
    await page.keyboard.type('quarantin')
    const found = page.getByRole('option')
    await found.first().waitFor()
    await axe(page)
    await page.screenshot({ path: join(screenshots, 'docs-search-1280-light.png') })
    await page.keyboard.press('ArrowDown')
    assert.equal(await page.locator('#find').getAttribute('aria-activedescendant'), 'found-0')
    assert.match(await page.locator('#status').innerText(), /\d found/)
    await page.keyboard.press('Enter')
    await page.waitForURL((now) => !now.pathname.endsWith('/docs/'))
    assert.match(await page.locator('main').innerText(), /quarantin/)
    await page.keyboard.press('/')
    await page.keyboard.type('xyzzyq')
    await page.getByText('Nothing found').first().waitFor()
    await page.keyboard.press('Escape')
    assert.equal(await page.locator('#found').isVisible(), false)
    await page.locator('#find').fill('httpRefetch')
    assert.match(await found.first().innerText(), /httpRefetch\(\)/)
  })

  await asserting('code is copied by keyboard, and that is said', async () => {
    await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: new URL(url).origin })
    await page.goto(new URL('docs/start.html', url).href)
    await page.locator('pre').nth(1).focus()
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.getByRole('status').filter({ hasText: 'Copied' }).waitFor()
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^import \{ connect \}[^]*client\.close\(\)\n$/)
  })

  await asserting('a page says where the reader is, and one that does not exist says so', async () => {
    await page.setViewportSize({ width: 1440, height: 900 })
    await page.locator('#a-real-server').scrollIntoViewIfNeeded()
    await page.locator('#let-nothing-bad-in a').click()
    await page.locator('.outline-wide [aria-current]', { hasText: 'Let nothing bad in' }).waitFor()
    assert.equal(new URL(page.url()).hash, '#let-nothing-bad-in')
    const answer = await fetch(new URL('no/such/page', url))
    assert.equal(answer.status, 404)
    assert.match(await answer.text(), /There is nothing here/)
    await page.setViewportSize({ width: 1280, height: 900 })
  })

  await asserting('axe finds nothing in those pages of the docs that differ, and nothing moves', async () => {
    for (const name of ['index', 'concepts', 'errors', 'api/index']) {
      await page.goto(new URL(`docs/${name}.html`, url).href)
      await axe(page)
      const file = name.replace('/', '-')
      await page.screenshot({ path: join(screenshots, `docs-${file}-1280-light.png`) })
      await page.emulateMedia({ colorScheme: 'dark' })
      await axe(page, ['color-contrast'])
      await page.screenshot({ path: join(screenshots, `docs-${file}-1280-dark.png`) })
      await page.emulateMedia({ colorScheme: 'light' })
      await page.setViewportSize({ width: 390, height: 844 })
      await fits(page)
      await page.screenshot({ path: join(screenshots, `docs-${file}-390-light.png`) })
      await page.setViewportSize({ width: 1280, height: 900 })
      assert.ok((await shifts(page)) < 0.001, `${name}: layout shift of ${await shifts(page)}`)
    }
  })
  await page.close()
}

/** Reads every page that can be reached from one, in its folder, and fails for a link that leads nowhere. */
async function crawl(first) {
  const pages = new Map()
  const links = []
  const folder = new URL('.', first).href
  const queue = [first.href]
  for (let href; (href = queue.shift()) !== undefined; ) {
    if (pages.has(href)) continue
    const answer = await fetch(href, { signal: AbortSignal.timeout(5_000) })
    assert.equal(answer.status, 200, href)
    const text = await answer.text()
    const ids = new Set([...text.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id))
    pages.set(href, { ids, description: /<meta name="description" content="([^"]*)"/.exec(text)?.[1] ?? '' })
    for (const [, raw] of text.matchAll(/ (?:href|src)="([^"]+)"/g)) {
      const link = new URL(raw.replaceAll('&#38;', '&').replaceAll('&amp;', '&'), href)
      if (link.origin !== first.origin) continue
      const page = link.href.replace(/#.*/, '')
      links.push({ from: href, page, id: decodeURIComponent(link.hash.slice(1)) })
      if (page.startsWith(folder) && page.endsWith('.html')) queue.push(page)
    }
  }
  const others = new Set(links.map(({ page }) => page).filter((page) => !pages.has(page)))
  await Promise.all([...others].map(async (page) => assert.equal((await fetch(page, { signal: AbortSignal.timeout(5_000) })).status, 200, page)))
  for (const { from, page, id } of links) if (id !== '' && pages.has(page)) assert.ok(pages.get(page).ids.has(id), `${from} links to ${page}#${id}`)
  return pages
}

/** Adds up what a visitor did not cause: shifts within half a second of an input are not counted by the browser's own rule. */
export async function watchShifts(page) {
  await page.addInitScript(() => {
    globalThis.shifted = { sum: 0, what: [] }
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        if (entry.hadRecentInput) continue
        globalThis.shifted.sum += entry.value
        globalThis.shifted.what.push(entry.sources.map(({ node }) => (node?.nodeType === 3 ? `text of ${node.parentElement?.id || node.parentElement?.className}` : node?.id || node?.className || node?.nodeName)).join(', '))
      }
    }).observe({ type: 'layout-shift', buffered: true })
  })
}

export async function shifts(page) {
  const { sum, what } = await page.evaluate(() => globalThis.shifted)
  if (sum > 0) console.log(`       shifted: ${sum.toFixed(4)} ${what.join(' | ')}`)
  return sum
}

/** Fails with all that axe finds: of every rule, or of those that a change of colours can break. */
export async function axe(page, rules) {
  await page.addScriptTag({ path: AXE })
  const { violations } = await page.evaluate((runOnly) => globalThis.axe.run(document, { resultTypes: ['violations'], ...(runOnly && { runOnly }) }), rules)
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}\n    ${nodes.map(({ target, failureSummary }) => `${target.join(' ')} ${failureSummary}`).join('\n    ')}`)
  assert.deepEqual(found, [], `${page.url()}:\n${found.join('\n')}`)
}

async function fits(page) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth])
  assert.ok(content <= window, `${content} px of content in ${window} px on ${page.url()}`)
}
