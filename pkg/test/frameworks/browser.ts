// Browsers, and pages that are served from memory.

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';
import { type Engine, PROGRAMS } from '../browsers.js';

/** Longer than any step of these tests takes on a busy machine. */
const PATIENCE = 10_000;

/** A page, and what it complained of. */
export interface Opened {
  readonly page: Page;
  /** Everything that was written to the console as a warning or an error, and every exception. */
  readonly complaints: string[];
}

/** Chromium is looked for where Debian has it, too. */
const FOUND = { ...PROGRAMS, chromium: PROGRAMS.chromium ?? '/usr/bin/chromium' };

/** The browsers that there are. */
export const ENGINES = (Object.keys(FOUND) as Engine[]).filter((engine) => FOUND[engine] !== undefined);

/** A browser with a server of pages. */
export class TestBrowser {
  readonly #files = new Map<string, { readonly type: string; readonly text: string }>();

  private constructor(readonly browser: Browser, readonly server: Server) {}

  static async start(engine: Engine = 'chromium'): Promise<TestBrowser> {
    const browser = await puppeteer.launch({
      executablePath: FOUND[engine]!,
      ...(engine === 'firefox' ? { browser: 'firefox' } : {
        args: ['--no-sandbox', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
      }),
    });
    const server = createServer((request, response) => {
      const file = started.#files.get(request.url ?? '/');
      response.writeHead(file === undefined ? 404 : 200, { 'content-type': file?.type ?? 'text/plain' }).end(file?.text);
    });
    const started = new TestBrowser(browser, server);
    await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
    return started;
  }

  async stop(): Promise<void> {
    await this.browser.close();
    this.server.closeAllConnections();
    await new Promise((resolve) => { this.server.close(resolve); });
  }

  /** Opens a page with a script, around what a server has rendered. */
  async open(name: string, script: string, { rendered = '', head = '' } = {}): Promise<Opened> {
    this.#files.set('/favicon.ico', { type: 'image/x-icon', text: '' });
    this.#files.set(`/${name}.js`, { type: 'text/javascript', text: script });
    this.#files.set(`/${name}`, {
      type: 'text/html; charset=utf-8',
      text: `<!doctype html><html lang="en"><head><title>…</title>${head}</head><body><div id="root">${rendered}</div>`
        + `<script type="module" src="/${name}.js"></script></body></html>`,
    });
    const page = await this.browser.newPage();
    page.setDefaultTimeout(PATIENCE);
    const complaints: string[] = [];
    page.on('console', (message) => {
      if (['warn', 'error'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error instanceof Error ? error.stack ?? error.message : String(error)));
    await page.goto(`http://127.0.0.1:${(this.server.address() as AddressInfo).port}/${name}`);
    await page.waitForFunction(() => document.title !== '…');
    const title = await page.title();
    if (title !== 'up') throw new Error([title, ...complaints].join('\n'));
    return { page, complaints };
  }
}
