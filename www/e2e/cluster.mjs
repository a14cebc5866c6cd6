/**
 * The countries over a cluster, in headless Chromium: which node serves a tab, and that the tab goes on elsewhere when that
 * node is killed. What is asserted is printed as it goes.
 *
 *   node e2e/cluster.mjs
 *
 * Environment
 *   TIDEWIRE_URL          the page, as `cargo xtask cluster` prints it
 *   TIDEWIRE_SCREENSHOTS  a directory that exists
 *   TIDEWIRE_CHROMIUM     the browser's program; /usr/bin/chromium if not given
 *
 * Exits with 0, or prints what failed and what the tabs had written to their consoles, and exits with 1.
 */
import { strict as assert } from 'node:assert'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { axe } from './playground.mjs'
import { waiting } from './until.mjs'

const WHOLE = 150_000
const STEP = 15_000
const until = waiting(STEP)
/** A node that was killed is away for three seconds, and then joins. */
const BACK = 60_000

const url = process.env['TIDEWIRE_URL']
const screenshots = process.env['TIDEWIRE_SCREENSHOTS']
if (!url || !screenshots) {
  console.error('TIDEWIRE_URL or TIDEWIRE_SCREENSHOTS is not set: run `cargo xtask cluster --check`')
  process.exit(2)
}

const consoles = []
const faults = []
let step = 'starting Chromium'
const browser = await chromium.launch({
  executablePath: process.env['TIDEWIRE_CHROMIUM'] || '/usr/bin/chromium',
  timeout: 30_000,
  args: ['--no-sandbox', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
})
const guard = setTimeout(() => void fail(new Error(`not finished within ${WHOLE / 1000} s`)), WHOLE)

try {
  await check()
  clearTimeout(guard)
  await browser.close()
  console.log('ok: the page goes on at another node')
} catch (error) {
  await fail(error)
}

async function check() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' })
  context.setDefaultTimeout(STEP)
  const a = await open(context, 'tab A')
  const b = await open(context, 'tab B')
  const before = await a.node()
  const mark = Date.now().toString(36)

  await asserting('each tab says which node serves it, in words and in the list', async () => {
    for (const tab of [a, b]) {
      const node = await tab.node()
      assert.match(node, /^node-[012]$/)
      assert.equal(await tab.page.getByTestId(node).getAttribute('aria-current'), 'true')
      assert.equal(await tab.page.locator('.cluster-node[aria-current]').count(), 1)
    }
    assert.equal(await a.page.locator('.cluster-node').count(), 3)
  })

  await asserting('axe finds nothing, and nothing sticks out sideways', async () => {
    await a.page.getByTestId('search').fill('iceland')
    await axe(a.page)
    await a.page.getByTestId('search').fill('')
    for (const width of [390, 1280]) {
      await a.page.setViewportSize({ width, height: 800 })
      const [content, room] = await a.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth])
      assert.ok(content <= room, `${content} px of content in ${room} px`)
    }
    await a.shot('before-kill')
  })

  const rows = await a.rows()
  await asserting('the node that serves a tab is killed: its list stays, and it goes on at another node', async () => {
    assert.ok(rows >= 240, `${rows} rows`)
    await a.page.getByTestId(`kill-${before}`).click()
    await until('another node serves the tab', async () => ![before, undefined].includes(await a.node()))
    assert.equal(await a.rows(), rows)
    await until('the list says that it is down', async () => (await a.page.getByTestId(before).getAttribute('data-condition')) === 'down')
    await a.shot('after-kill')
    console.log(`       from ${before} to ${await a.node()}`)
  })

  await asserting('what is edited there reaches the other tab, and the other way round', async () => {
    await a.edit('ISL', `Reykjavík ${mark}`)
    await b.shows('ISL', `Reykjavík ${mark}`)
    await b.edit('NOR', `Oslo ${mark}`)
    await a.shows('NOR', `Oslo ${mark}`)
  })

  await asserting('the node comes back, and has what was written meanwhile', async () => {
    await until('it is ready', async () => (await a.page.getByTestId(before).getAttribute('data-condition')) === 'ready', BACK)
    // Every other node goes, so the tab comes back to the one that was killed.
    for (const name of ['node-0', 'node-1', 'node-2'].filter((name) => name !== before)) await a.page.getByTestId(`kill-${name}`).click()
    await until('it serves the tab again', async () => (await a.node()) === before, BACK)
    await a.edit('ALB', `Tirana ${mark}`)
    const fresh = await open(context, 'tab C')
    for (const [key, capital] of [['ISL', 'Reykjavík'], ['NOR', 'Oslo'], ['ALB', 'Tirana']]) await fresh.shows(key, `${capital} ${mark}`)
    assert.equal(await fresh.rows(), rows)
  })

  await asserting('no tab wrote an error to its console but of sockets to nodes that were dead', async () => {
    assert.deepEqual(faults, [])
  })
}

async function open(context, name) {
  const page = await context.newPage()
  const fault = (text) => {
    consoles.push(`${name}: ${text}`)
    if (!/WebSocket connection to|\/v1\/sync/.test(text)) faults.push(`${name}: ${text}`)
  }
  page.on('console', (message) => (message.type() === 'error' ? fault(message.text()) : consoles.push(`${name}: ${message.text()}`)))
  page.on('pageerror', (error) => fault(error.stack ?? error.message))
  const wire = page.getByTestId('pane-wire')
  const row = (key) => wire.getByTestId(`row-${key}`)
  const tab = {
    page,
    /** The node that serves the tab; `undefined` while none does. */
    node: async () => /served by (\S+)\./.exec(await page.getByTestId('served-by').innerText())?.[1],
    rows: () => wire.locator('[data-testid^=row-]').count(),
    shows: (key, text) => until(`${name} shows ${text}`, async () => (await row(key).count()) > 0 && (await row(key).textContent()).includes(text)),
    async edit(key, capital) {
      await page.bringToFront()
      await row(key).click()
      await wire.getByTestId('edit-capital').fill(capital)
      await wire.getByTestId('save').click()
      // It closes when the write is acknowledged.
      await until('the write is acknowledged', async () => !(await wire.getByTestId('editor').isVisible()), BACK)
    },
    async shot(name) {
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme })
        await page.screenshot({ path: join(screenshots, `${name}-${colorScheme}.png`) })
      }
      await page.emulateMedia({ colorScheme: 'light' })
    },
  }
  await page.goto(url)
  await until(`${name} has its list`, async () => (await tab.rows()) > 0 && (await tab.node()) !== undefined)
  return tab
}

async function asserting(sentence, run) {
  step = sentence
  const from = Date.now()
  await run()
  console.log(`  ok  ${sentence} (${Date.now() - from} ms)`)
}

async function fail(error) {
  clearTimeout(guard)
  console.error(`FAILED  ${step}\n        ${error.stack ?? error.message}\n\nconsoles:\n${consoles.join('\n') || '(empty)'}`)
  for (const [index, page] of browser.contexts().flatMap((context) => context.pages()).entries()) {
    await page.screenshot({ path: join(screenshots, `failed-${index}.png`), timeout: 3_000 }).catch(() => undefined)
  }
  await Promise.race([browser.close(), new Promise((resolve) => setTimeout(resolve, 3_000))])
  process.exit(1)
}
