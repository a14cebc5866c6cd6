/**
 * The pages, in headless Chromium, against the real server: what it asserts is printed as it goes. The countries are checked
 * here, the playground and the docs in `playground.mjs`.
 *
 *   node e2e/check.mjs
 *
 * Environment
 *   TIDEWIRE_URL          where the pages are
 *   TIDEWIRE_RESTART_URL  a loopback address: `POST /kill` ends the server as a crash would, `POST /start` starts it again
 *                         on the same port and data and answers when it is healthy
 *   TIDEWIRE_SCREENSHOTS  a directory that exists
 *   TIDEWIRE_CHROMIUM     the browser's program; /usr/bin/chromium if not given
 *
 * Exits with 0, or prints what failed and what both tabs had written to their consoles, and exits with 1.
 *
 * Test ids of the countries
 *   pane-wire, pane-page    the two panes; every id below but the first line's exists once in each
 *   search                  the search field                    show-wire, show-page  the switch at phone width
 *   status                  [data-state] connecting, live, reconnecting, offline, closed
 *   sequence, epoch         the replica's position              count                 "250", or "3 of 250" in a search
 *   pending                 writes not answered yet             activity              the last changes
 *   rows, row-<cca3>        the list; a row has [data-write] while its write is pending or failed
 *   empty                   why the list is empty               reopen                opens a replica that failed to open
 *   add                     opens the empty form
 *   editor                  the form, with edit-code (new records), edit-name, edit-official, edit-capital, edit-area,
 *                           edit-region, edit-subregion, edit-error, save, reset, delete, close
 *   notices                 pending-write, failed-write (retry, discard), undo
 */
import { strict as assert } from 'node:assert'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { axe, checkDocs, checkPlayground, shifts, watchShifts } from './playground.mjs'
import { waiting } from './until.mjs'

const WHOLE = 180_000
const STEP = 10_000
const until = waiting(STEP)
/** The client's backoff is capped well below this. */
const BACK = 30_000
/** A code that ISO 3166 leaves to its users, so that no country has it. */
const OWN_CODE = 'QZX'

const url = required('TIDEWIRE_URL')
const control = required('TIDEWIRE_RESTART_URL')
const screenshots = required('TIDEWIRE_SCREENSHOTS')
const program = process.env['TIDEWIRE_CHROMIUM'] || '/usr/bin/chromium'

const started = Date.now()
const mark = started.toString(36)
const faults = []
const consoles = []
/** While the server is down, sockets that fail are what the check is about. */
let isServerDown = false
let step = 'starting Chromium'

const browser = await chromium.launch({
  executablePath: program,
  timeout: 30_000,
  args: ['--no-sandbox', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
})
const guard = setTimeout(() => void fail(new Error(`not finished within ${WHOLE / 1000} s`)), WHOLE)
const tabs = []

try {
  await check()
  clearTimeout(guard)
  await browser.close()
  console.log(`ok: the page works (${((Date.now() - started) / 1000).toFixed(1)} s)`)
} catch (error) {
  await fail(error)
}

async function check() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' })
  context.setDefaultTimeout(STEP)
  // Apart, so that each is in front; at once, for both wait more than they work.
  const reader = await browser.newContext()
  reader.setDefaultTimeout(STEP)
  await Promise.all([
    checkPlayground({ context, url, screenshots, asserting, until, listen }),
    checkDocs({ context: reader, url, screenshots, asserting, listen }),
  ])
  await reader.close()
  await checkCountries(context)

  await asserting('no tab wrote an error to its console, and no request failed', async () => {
    assert.deepEqual(faults, [])
  })
}

async function checkCountries(context) {
  const a = await open(context, 'tab A')
  const b = await open(context, 'tab B')

  await asserting('the list shows about 250 countries, with their own names in Arabic, Chinese and Cyrillic letters', async () => {
    for (const tab of [a, b]) {
      const rows = await tab.wire.locator('[data-testid^=row-]').count()
      assert.ok(rows >= 240 && rows <= 260, `${tab.name} shows ${rows} rows`)
    }
    for (const [key, name, lang] of [['EGY', 'مصر', 'ar'], ['CHN', '中国', 'zh'], ['RUS', 'Россия', 'ru']]) {
      assert.match(await a.row(key).textContent(), new RegExp(name))
      assert.equal(await a.row(key).locator('bdi').getAttribute('lang'), lang)
    }
  })
  const before = await a.capitals('ALB', 'EGY', 'NOR')
  const elsewhere = before.ALB === 'Durrës' ? 'Vlorë' : 'Durrës'

  await asserting('a search by keyboard finds a country without its accents, and opens it', async () => {
    await a.page.keyboard.press('/')
    await a.page.keyboard.type('reykjavik')
    await until('one row is left', async () => (await a.wire.getByTestId('count').innerText()).startsWith('1 of '))
    await a.page.keyboard.press('ArrowDown')
    assert.equal(await focused(a), 'row-ISL')
    await a.page.keyboard.press('Enter')
    assert.equal(await focused(a), 'edit-name')
    assert.equal(await a.wire.getByTestId('edit-name').inputValue(), 'Iceland')
    await a.page.keyboard.press('Escape')
    assert.equal(await focused(a), 'row-ISL')
    await a.page.keyboard.press('/')
    await a.page.keyboard.press('Escape')
    await until('the search is over', async () => !(await a.wire.getByTestId('count').innerText()).includes('of'))
  })

  await asserting('an edit in one tab reaches the other', async () => {
    const sequence = await a.sequence()
    await a.edit('ALB', { capital: elsewhere })
    await b.shows('ALB', elsewhere)
    await b.page.bringToFront()
    await b.page.waitForTimeout(700)
    await b.page.screenshot({ path: join(screenshots, 'page-1280-light.png') })
    await a.shows('ALB', elsewhere)
    await until('both tabs are one sequence further', async () => (await a.sequence()) === sequence + 1 && (await b.sequence()) === sequence + 1)
    assert.match(await b.wire.getByTestId('activity').innerText(), /Albania.*capital.*elsewhere/s)
    assert.match(await a.wire.getByTestId('activity').innerText(), /Albania.*you/s)
  })

  await asserting('a record that cannot be stored is refused before it is sent, and the input stays', async () => {
    await a.add()
    await a.wire.getByTestId('edit-code').fill('EGY')
    await a.wire.getByTestId('edit-name').fill('Second Egypt')
    await a.wire.getByTestId('save').click()
    assert.match(await a.wire.getByTestId('editor').innerText(), /EGY belongs to Egypt/)
    assert.equal(await a.wire.getByTestId('edit-name').inputValue(), 'Second Egypt')
    await a.wire.getByTestId('reset').click()
    await a.wire.getByTestId('close').click()
  })

  await asserting('a new record reaches the other tab, and so does its deletion and the way back', async () => {
    await a.add()
    await a.fill({ code: OWN_CODE, name: `Atlantis ${mark}`, capital: 'Poseidonis', area: '1234.5' })
    await a.saved()
    await b.shows(OWN_CODE, `Atlantis ${mark}`)
    await b.remove(OWN_CODE)
    await a.gone(OWN_CODE)
    await b.page.bringToFront()
    await b.wire.getByTestId('undo').click()
    await a.shows(OWN_CODE, `Atlantis ${mark}`)
    await a.remove(OWN_CODE)
    await b.gone(OWN_CODE)
  })

  await asserting('the server in the page has its own copy: an edit there stays there', async () => {
    await until('its list is there', async () => (await a.here.locator('[data-testid^=row-]').count()) >= 240)
    const [wire, here] = [await a.sequence(), await sequenceOf(a.here)]
    await a.edit('FRA', { capital: `Paris ${mark}` }, a.here)
    await until('the row shows it', async () => (await a.row('FRA', a.here).textContent()).includes(mark))
    await until('its sequence moved', async () => (await sequenceOf(a.here)) > here)
    assert.equal(await a.sequence(), wire)
    for (const other of [a.row('FRA'), b.row('FRA'), b.row('FRA', b.here)]) assert.doesNotMatch(await other.textContent(), new RegExp(mark))
  })

  await asserting('while the server is down, both tabs say so, keep their list, and show the write that waits', async () => {
    await a.edit('EGY', { capital: `Cairo ${mark}` })
    isServerDown = true
    await order('/kill')
    for (const tab of [a, b]) await tab.reaches((state) => state === 'reconnecting' || state === 'offline')
    for (const tab of [a, b]) assert.ok((await tab.wire.locator('[data-testid^=row-]').count()) >= 240)
    await b.open('NOR')
    await b.fill({ capital: `Oslo ${mark}` })
    await b.wire.getByTestId('save').click()
    await until('the write is pending or was refused with its reason', async () => {
      const pending = await b.wire.getByTestId('pending').innerText()
      return pending === '1' || (await b.wire.getByTestId('edit-error').innerText()) !== ''
    })
    await b.page.keyboard.press('Escape')
    await b.page.screenshot({ path: join(screenshots, 'page-1280-reconnecting.png') })
  })

  await asserting('after a restart both tabs come back by themselves, and what was acknowledged before the crash is there', async () => {
    await order('/start')
    for (const tab of [a, b]) await tab.reaches((state) => state === 'live', BACK)
    isServerDown = false
    for (const tab of [a, b]) await tab.shows('EGY', `Cairo ${mark}`)
    const fresh = await open(context, 'tab C')
    await fresh.shows('EGY', `Cairo ${mark}`)
    await fresh.shows('ALB', elsewhere)
    await asserting('the countries move nothing as they come, and axe finds nothing', async () => {
      assert.ok((await shifts(fresh.page)) < 0.001, 'a layout shift')
      // A row is like another, and axe looks at each.
      await fresh.page.getByTestId('search').fill('iceland')
      await axe(fresh.page)
    })
    await fresh.page.close()
  })

  await asserting('the write that waited is settled: stored and seen by both, or refused with its input kept', async () => {
    await until('it is settled', async () => (await b.wire.getByTestId('pending').innerText()) === '0', BACK)
    if (await b.wire.getByTestId('failed-write').count()) {
      console.log(`       refused: ${await b.wire.getByTestId('failed-write').locator('p').innerText()}`)
      await b.open('NOR')
      assert.equal(await b.wire.getByTestId('edit-capital').inputValue(), `Oslo ${mark}`)
      await b.saved()
    }
    for (const tab of [a, b]) await tab.shows('NOR', `Oslo ${mark}`)
  })

  await asserting('both tabs hold the same list at the same position', async () => {
    const position = async (tab) => `${await tab.wire.getByTestId('epoch').getAttribute('title')}/${await tab.sequence()}`
    await until('the positions agree', async () => (await position(a)) === (await position(b)))
    assert.equal(await a.wire.getByTestId('rows').textContent(), await b.wire.getByTestId('rows').textContent())
  })

  await asserting('at phone width and in the dark the page shows the same, and nothing sticks out sideways', async () => {
    await a.page.bringToFront()
    await a.page.emulateMedia({ colorScheme: 'dark' })
    await a.open('EGY')
    await a.page.screenshot({ path: join(screenshots, 'page-1280-dark.png') })
    await a.page.keyboard.press('Escape')
    await a.page.setViewportSize({ width: 390, height: 844 })
    await a.fits()
    await a.page.screenshot({ path: join(screenshots, 'page-390-dark.png') })
    await a.page.emulateMedia({ colorScheme: 'light' })
    await a.page.screenshot({ path: join(screenshots, 'page-390-light.png') })
    await a.page.getByTestId('show-page').click()
    assert.ok(await a.here.isVisible() && !(await a.wire.isVisible()))
    await a.page.getByTestId('show-wire').click()
    await a.open('EGY')
    await a.fits()
    await a.page.screenshot({ path: join(screenshots, 'page-390-editor.png') })
    await a.page.keyboard.press('Escape')
    await a.page.setViewportSize({ width: 1280, height: 800 })
  })

  await asserting('everything can be put back as it was', async () => {
    for (const [key, capital] of Object.entries(before)) {
      await a.edit(key, { capital })
      await b.shows(key, capital)
    }
  })
}

/** Puts what a page says on record. */
function listen(page, name) {
  const note = (kind, text) => consoles.push(`${name} ${seconds()} ${kind}: ${text}`)
  const fault = (kind, text) => {
    note(kind, text)
    if (!(isServerDown && /WebSocket|\/v1\/sync|ERR_CONNECTION/.test(text))) faults.push(`${name} ${kind}: ${text}`)
  }
  page.on('console', (message) => (message.type() === 'error' ? fault : note)(message.type(), message.text()))
  page.on('pageerror', (error) => fault('exception', error.stack ?? error.message))
  page.on('requestfailed', (request) => fault('request failed', `${request.url()} ${request.failure()?.errorText ?? ''}`))
  page.on('response', (response) => response.status() >= 400 && fault('response', `${response.status()} ${response.url()}`))
}

/**
 * A page with its console on record, and what the check does in it. Rows are read by `textContent`: those out of view are not
 * laid out, and have no `innerText`.
 */
async function open(context, name) {
  const page = await context.newPage()
  listen(page, name)
  await watchShifts(page)

  const wire = page.getByTestId('pane-wire')
  const here = page.getByTestId('pane-page')
  const tab = {
    name,
    page,
    wire,
    here,
    row: (key, pane = wire) => pane.getByTestId(`row-${key}`),
    sequence: () => sequenceOf(wire),
    shows: (key, text) => until(`${name} shows ${text}`, async () => (await tab.row(key).count()) > 0 && (await tab.row(key).textContent()).includes(text)),
    gone: (key) => until(`${key} is gone from ${name}`, async () => (await tab.row(key).count()) === 0),
    reaches: (test, within) => until(`${name} changes its status`, async () => test(await wire.getByTestId('status').getAttribute('data-state')), within),
    async capitals(...keys) {
      const read = async (key) => [key, (await tab.row(key).locator('.row-capital').textContent()).trim()]
      return Object.fromEntries(await Promise.all(keys.map(read)))
    },
    async open(key, pane = wire) {
      // A tab in the background draws no frames, and a click waits for frames.
      await page.bringToFront()
      await tab.row(key, pane).click()
      await pane.getByTestId('editor').waitFor()
    },
    async add() {
      await page.bringToFront()
      await wire.getByTestId('add').click()
    },
    async fill(fields, pane = wire) {
      for (const [field, text] of Object.entries(fields)) await pane.getByTestId(`edit-${field}`).fill(text)
    },
    /** Saves, and returns when the authority has acknowledged: only then does the form close. */
    async saved(pane = wire) {
      await pane.getByTestId('save').click()
      await until('the write is acknowledged', async () => {
        if (!(await pane.getByTestId('editor').isVisible())) return true
        const error = await pane.getByTestId('edit-error').innerText()
        assert.equal(error, '')
        return false
      })
    },
    async edit(key, fields, pane = wire) {
      await tab.open(key, pane)
      await tab.fill(fields, pane)
      await tab.saved(pane)
    },
    async remove(key) {
      await tab.open(key)
      await wire.getByTestId('delete').click()
      await tab.gone(key)
    },
    async fits() {
      const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth])
      assert.ok(content <= window, `${content} px of content in ${window} px`)
    },
  }
  tabs.push(tab)
  await page.goto(new URL('countries.html', url).href)
  await tab.reaches((state) => state === 'live')
  await until(`${name} has its list`, async () => (await wire.locator('[data-testid^=row-]').count()) > 0)
  return tab
}

async function sequenceOf(pane) {
  return Number(await pane.getByTestId('sequence').innerText())
}

function focused(tab) {
  return tab.page.evaluate(() => document.activeElement?.getAttribute('data-testid'))
}

async function order(path) {
  const answer = await fetch(new URL(path, control), { method: 'POST', signal: AbortSignal.timeout(20_000) })
  assert.ok(answer.ok, `POST ${path}: ${answer.status} ${await answer.text()}`)
}

async function asserting(sentence, run) {
  step = sentence
  const from = Date.now()
  await run().catch((error) => {
    step = sentence
    throw error
  })
  console.log(`  ok  ${sentence} (${Date.now() - from} ms)`)
}

async function fail(error) {
  clearTimeout(guard)
  console.error(`FAILED  ${step}\n        ${error.message}`)
  if (faults.length > 0) console.error(`\nerrors:\n${faults.join('\n')}`)
  console.error(`\nconsoles:\n${consoles.join('\n') || '(empty)'}`)
  for (const { name, page } of tabs) {
    const path = join(screenshots, `failed-${name.replace(' ', '-')}.png`)
    await page.screenshot({ path, timeout: 3_000 }).catch(() => undefined)
  }
  await Promise.race([browser.close(), new Promise((resolve) => setTimeout(resolve, 3_000))])
  process.exit(1)
}

function required(name) {
  const value = process.env[name]
  if (value) return value
  console.error(`${name} is not set: see the head of this file, or run \`cargo xtask demo --check\``)
  process.exit(2)
}

function seconds() {
  return `${((Date.now() - started) / 1000).toFixed(1)} s`
}
