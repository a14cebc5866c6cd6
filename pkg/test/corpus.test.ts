// The corpus in three engines: Node's, and those of Chromium and Firefox where the tests were told where these are.

import { WebSocket as NodeSocket } from 'ws';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect } from 'tidewire';
import { ENGINES, PageServer } from './browsers.js';
import { CASES, KEYS, REFUSED, runCorpus } from './corpus.js';
import { SERVER_BIN } from './native.js';

/** Three ways for a value, one for what is refused, two for a key, and three for all of them. */
const CHECKS = 3 * CASES.length + REFUSED.length + 2 * KEYS.length + 3;

test('every case has a name of its own', () => {
  expect(new Set(CASES.map(({ name }) => name)).size).toBe(CASES.length);
});

// Without a server's program, `native.test.ts` says loudly what did not run.
if (SERVER_BIN !== undefined) describe('numbers, names and texts cross both codecs unchanged', () => {
  let page: PageServer;

  beforeAll(async () => { page = await PageServer.start('corpus_page.ts'); });
  afterAll(() => page.stop());

  test('in Node', async () => {
    const { url } = page.native;
    const open = () => connect(url, { WebSocket: NodeSocket });
    const { checks, faults } = await runCorpus(open, url, NodeSocket as unknown as typeof WebSocket, 'node');
    expect(faults).toEqual([]);
    expect(checks).toBe(CHECKS);
  });

  for (const engine of ENGINES) {
    test(`in ${engine}`, async () => {
      const { checks, faults } = await page.run(engine);
      expect(faults).toEqual([]);
      expect(checks).toBe(CHECKS);
    }, 60_000);
  }
});
