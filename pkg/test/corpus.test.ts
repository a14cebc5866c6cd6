// The corpus in three engines: Node's, and those of Chromium and Firefox where the tests were told where these are.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { WebSocket as NodeSocket } from 'ws';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect } from 'tidewire';
import { CASES, KEYS, REFUSED, runCorpus } from './corpus.js';
import { NativeServer, SERVER_BIN } from './native.js';

/** Browsers, and how each is started so that it opens one page without a window. `cargo xtask test` says where they are. */
const BROWSERS = {
  chromium: {
    program: process.env['TIDEWIRE_CHROMIUM'],
    arguments: (profile: string) => [
      '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update',
      '--disable-sync', '--no-first-run', `--user-data-dir=${profile}`,
    ],
  },
  firefox: {
    program: process.env['TIDEWIRE_FIREFOX'],
    arguments: (profile: string) => ['--headless', '--no-remote', '--profile', profile],
  },
} as const;

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Three ways for a value, one for what is refused, two for a key, and three for all of them. */
const CHECKS = 3 * CASES.length + REFUSED.length + 2 * KEYS.length + 3;

test('every case has a name of its own', () => {
  expect(new Set(CASES.map(({ name }) => name)).size).toBe(CASES.length);
});

// Without a server's program, `native.test.ts` says loudly what did not run.
if (SERVER_BIN !== undefined) describe('numbers, names and texts cross both codecs unchanged', () => {
  const page = mkdtempSync(join(tmpdir(), 'tidewire-corpus-'));
  let server: NativeServer;

  beforeAll(async () => {
    writeFileSync(join(page, 'index.html'), '<!doctype html><title>corpus</title><script type="module" src="page.js"></script>');
    await build({
      entryPoints: [here('corpus_page.ts')], outfile: join(page, 'page.js'), bundle: true, format: 'esm', logLevel: 'error',
      alias: { tidewire: here('../dist/inline.js') }, target: 'es2022',
    });
    server = await NativeServer.start({}, ['--www', page]);
  });
  afterAll(async () => {
    await server.stop();
    rmSync(page, { recursive: true, force: true });
  });

  test('in Node', async () => {
    const open = () => connect(server.url, { WebSocket: NodeSocket });
    const { checks, faults } = await runCorpus(open, server.url, NodeSocket as unknown as typeof WebSocket, 'node');
    expect(faults).toEqual([]);
    expect(checks).toBe(CHECKS);
  });

  for (const [engine, { program, arguments: how }] of Object.entries(BROWSERS)) {
    if (program === undefined) continue;
    test(`in ${engine}`, async () => {
      const profile = mkdtempSync(join(tmpdir(), `tidewire-${engine}-`));
      const client = await connect(server.url, { WebSocket: NodeSocket });
      const result = client.synced<{ checks: number; faults: string[] }>(`result:${engine}`);
      const browser = spawn(program, [...how(profile), `http://${server.address}/?engine=${engine}`], { stdio: 'ignore', detached: true });
      const ended = new Promise((resolve) => browser.once('exit', resolve));
      try {
        await result.ready();
        const { checks, faults } = result.get()!;
        expect(faults).toEqual([]);
        expect(checks).toBe(CHECKS);
      } finally {
        // A browser is several processes, and all of them are its group.
        process.kill(-browser.pid!, 'SIGKILL');
        await ended;
        client.close();
        rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
      }
    }, 60_000);
  }
});
