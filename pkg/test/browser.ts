// A page in headless Chromium that holds the built package and one script.

import { createServer, type Server } from 'node:http';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';

const DIST = fileURLToPath(new URL('../dist/', import.meta.url));

/** Debian's, unless told otherwise. */
const PROGRAM = process.env['TIDEWIRE_CHROMIUM'] ?? '/usr/bin/chromium';

const FLAGS = ['--no-sandbox', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];

export interface BrowserPage {
  readonly page: Page;
  /** What went wrong in the page beside what its script caught. */
  readonly errors: string[];
  close(): Promise<void>;
}

/**
 * Opens a page that runs the TypeScript file `entry`, which imports the package by its name.
 *
 * @param flags What Chromium is started with beside the usual.
 */
export async function openPage(entry: URL, flags: readonly string[] = []): Promise<BrowserPage> {
  const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
  const bundled = await build({
    entryPoints: [fileURLToPath(entry)],
    bundle: true, format: 'esm', target: 'es2022', write: false,
    define: { 'process.env.NODE_ENV': '"test"' },
    alias: {
      vitest: here('page_vitest.ts'), tidewire: `${DIST}inline.js`, 'tidewire/nats': `${DIST}nats.js`, 'tidewire/testing': `${DIST}testing.js`,
      'tidewire/server': `${DIST}server.inline.js`, 'tidewire/inspector': `${DIST}inspector.js`,
    },
  });
  const script = bundled.outputFiles[0]!.text;
  const server = createServer((request, response) => {
    if (request.url === '/page.js') response.setHeader('content-type', 'text/javascript').end(script);
    else response.setHeader('content-type', 'text/html').end('<!doctype html><meta charset="utf-8"><title>test</title><script type="module" src="/page.js"></script>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  let browser: Browser | undefined;
  try {
    browser = await chromium.launch({ executablePath: PROGRAM, timeout: 30_000, args: [...FLAGS, ...flags] });
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(error.message));
    await page.goto(`http://127.0.0.1:${(server.address() as { port: number }).port}/`);
    const opened = browser;
    return { page, errors, close: async () => { await opened.close(); await ended(server); } };
  } catch (error) {
    await browser?.close();
    await ended(server);
    throw error;
  }
}

async function ended(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}
