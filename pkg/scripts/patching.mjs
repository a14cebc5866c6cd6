// Runs the property of structural sharing (test/patching.ts) over the built package in browsers: 100,000 pairs of values.
//
//   node scripts/patching.mjs PROGRAM...      such as chromium firefox
//
// A browser is started on a page of this script, which tells it what came out; so no driver is needed.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const PAIRS = 100_000;
const LIMIT = 180_000;

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { outputFiles: [bundle] } = await build({
  stdin: {
    contents: `
      import { connect } from 'tidewire';
      import { findUnpatched } from './test/patching.ts';
      const tell = (text) => fetch('/done', { method: 'POST', body: text });
      findUnpatched(connect, ${PAIRS}, 20_261_122).then((found) => tell(found ?? 'ok'), (error) => tell(String(error?.stack ?? error)));
    `,
    resolveDir: root,
  },
  alias: { tidewire: join(root, 'dist/inline.js') },
  bundle: true,
  format: 'esm',
  target: 'es2022',
  write: false,
});

/** Starts `program` on a page that runs the test, and resolves with what it tells. */
async function played(program) {
  const profile = mkdtempSync(join(tmpdir(), 'tidewire-browser-'));
  let told;
  const done = new Promise((resolve) => { told = resolve; });
  const server = createServer((request, response) => {
    if (request.url === '/') {
      response.setHeader('content-type', 'text/html').end('<!doctype html><script type="module" src="/test.js"></script>');
    } else if (request.url === '/test.js') {
      response.setHeader('content-type', 'text/javascript').end(bundle.contents);
    } else if (request.url === '/done') {
      let text = '';
      request.on('data', (chunk) => { text += chunk; }).on('end', () => (response.end(), told(text)));
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}/`;
  const args = basename(program).startsWith('firefox')
    ? ['--headless', '--no-remote', '--profile', profile, url]
    : [
      '--headless', `--user-data-dir=${profile}`, ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run', url,
    ];
  const browser = spawn(program, args, { stdio: 'ignore', detached: true });
  browser.on('error', (error) => told(`it did not start: ${error.message}`));
  browser.on('exit', () => told('it ended before the test did'));
  const timer = setTimeout(() => told(`not done within ${LIMIT / 1000} s`), LIMIT);
  const result = await done;
  clearTimeout(timer);
  try {
    // The whole group: browsers are several processes.
    process.kill(-browser.pid, 'SIGKILL');
  } catch {
    // It is gone.
  }
  server.closeAllConnections();
  server.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  return result;
}

for (const program of process.argv.slice(2)) {
  const result = await played(program);
  console.log(`${basename(program)}: ${result === 'ok' ? `${PAIRS} pairs, each shown as sent and shared where it could be` : result}`);
  if (result !== 'ok') process.exitCode = 1;
}
