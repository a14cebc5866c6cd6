// What it takes to hold records: each follower in a page, or a process, of its own, before and after it has read them all.
//
// Memory is the JavaScript heap after collection, the buffers outside of it, and all memories of WebAssembly, less what
// was there when the library was loaded.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { FOLLOWERS, PATIENCE, prepared } from './followers.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Counts WebAssembly's memories from now on. Runs in the page too, so it refers to nothing around it. */
export function countMemories() {
  const memories = new Set();
  const note = (instance) => {
    for (const exported of Object.values(instance.exports)) if (exported instanceof WebAssembly.Memory) memories.add(exported);
    return instance;
  };
  for (const name of ['instantiate', 'instantiateStreaming']) {
    const original = WebAssembly[name];
    WebAssembly[name] = async (...args) => {
      const result = await original.apply(WebAssembly, args);
      note(result instanceof WebAssembly.Instance ? result : result.instance);
      return result;
    };
  }
  WebAssembly.Instance = new Proxy(WebAssembly.Instance, { construct: (target, args) => note(Reflect.construct(target, args)) });
  globalThis.wasmBytes = () => [...memories].reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
}

/** How many records a follower takes part with: fewer than `wanted` where its server's side needs longer than a minute. */
async function share(id, wanted, say) {
  for (let count = wanted; count >= 1000; count = Math.floor(count / 3)) {
    const path = await prepared(id, count);
    if (path !== undefined) return { count, path };
    say(`  ${id}: ${count} records take longer than ${PATIENCE / 1000} s to write`);
  }
  throw new Error(`${id} cannot write even 1,000 records in time`);
}

async function inPage(browser, url, { id, isText }, { count, path }) {
  const page = await browser.newPage();
  const session = await page.createCDPSession();
  const heap = async () => {
    for (let i = 0; i < 3; i++) await session.send('HeapProfiler.collectGarbage');
    const { usedSize, embedderHeapUsedSize = 0 } = await session.send('Runtime.getHeapUsage');
    return usedSize + embedderHeapUsedSize + await page.evaluate('wasmBytes()');
  };
  try {
    await page.evaluateOnNewDocument(countMemories);
    await page.goto(url);
    await page.evaluate(async (id) => {
      globalThis.check = await import('/check.js');
      globalThis.module = await import(`/first-${id}.js`);
      await globalThis.module.init?.();
    }, id);
    const before = await heap();
    await page.evaluate(async (path, isText) => {
      const response = await fetch(path);
      globalThis.follower = await globalThis.module.follow(isText ? await response.text() : new Uint8Array(await response.arrayBuffer()));
    }, `/${path}`, isText ?? false);
    const unread = await heap() - before;
    await page.evaluate((count) => globalThis.check.readAll(count, globalThis.follower.read), count);
    return { unread, read: await heap() - before };
  } finally {
    await page.close();
  }
}

/** Runs in a Node process of its own. */
async function here([id, isText, count, path]) {
  countMemories();
  const heap = async () => {
    for (let i = 0; i < 3; i++) {
      globalThis.gc();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers + globalThis.wasmBytes();
  };
  const load = (name) => import(pathToFileURL(join(root, 'dist/node', `${name}.js`)).href);
  const { readAll } = await load('check');
  const module = await load(`first-${id}`);
  await module.init?.();
  const before = await heap();
  const begin = () => {
    const file = readFileSync(join(root, 'dist/web', path));
    return isText === 'true' ? file.toString('utf8') : new Uint8Array(file);
  };
  const follower = await module.follow(begin());
  const unread = await heap() - before;
  readAll(Number(count), follower.read);
  process.stdout.write(JSON.stringify({ unread, read: await heap() - before }), () => process.exit(0));
}

/** Measures all followers in `browser`, or in Node without one. */
export async function hold({ browser, url, count: wanted, only, say }) {
  const results = [];
  for (const follower of FOLLOWERS.filter(({ id }) => only === undefined || only.includes(id))) {
    const part = await share(follower.id, wanted, say);
    const measure = async () => {
      if (browser) return inPage(browser, url, follower, part);
      const { stdout } = await promisify(execFile)(process.execPath, [
        '--expose-gc', '--max-old-space-size=4096', fileURLToPath(import.meta.url), follower.id, String(follower.isText ?? false), String(part.count), part.path,
      ], { timeout: 3 * PATIENCE });
      return JSON.parse(stdout);
    };
    const bytes = await measure().catch((error) => {
      if (error.killed || /timed out/i.test(error.message)) return undefined;
      throw error;
    });
    results.push({ id: follower.id, label: follower.label, count: part.count, ...bytes });
  }
  return results;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await here(process.argv.slice(2));
