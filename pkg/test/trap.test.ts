// A trap of the core leaves no dead page: it starts again, asks for what is shown, and says so once.

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';
import { openPage } from './browser.js';
import type { Outcome, runTrap as RunTrap } from './trap_run.js';

declare const runTrap: typeof RunTrap;

const SCRIPT = new URL('trap_run.ts', import.meta.url);
const DIST = fileURLToPath(new URL('../dist/', import.meta.url));

const note = (text: string, name = 'Ada'): object => ({ text, by: { name } });

function isAlive({ traps, reported, before, kept, after, later, write }: Outcome): void {
  expect(traps).toBe(1);
  expect(reported).toEqual(['core_failed']);
  expect(before).toEqual({ note: note('one'), others: note('one'), rows: ['a1', 'b1'], own: 'one', status: ['live', 'live'] });
  // What was shown is still there, or what came by then.
  expect(kept).toMatchObject({ note: { by: { name: 'Ada' } }, rows: ['a1', 'b1'] });
  expect(after).toEqual({ note: note('two'), others: note('two'), rows: ['b1', 'c1'], own: 'two', status: ['live', 'live'] });
  expect(later).toEqual({
    note: note('three', 'Bob'), others: note('three', 'Bob'), rows: ['b2', 'c1'], own: 'three', status: ['live', 'live'],
    unread: 1, picked: ['Ada', 'Bob'], sequence: 3, stats: 0,
  });
  expect(['done', 'outcome_unknown']).toContain(write);
}

/** Where it traps: taking a frame, saying what changed, taking a write, in a timer, offering an envelope. */
const PLACES = ['core_frame', 'core_drain', 'core_write', 'core_offer'];

describe('in Node, a trap', () => {
  test.each(PLACES)('in %s', async (at) => {
    const folder = await mkdtemp(`${DIST}trap-`);
    try {
      await build({
        entryPoints: [fileURLToPath(SCRIPT)], outfile: `${folder}/run.mjs`, bundle: true, format: 'esm', platform: 'node', target: 'es2022',
        alias: { tidewire: `${DIST}inline.js`, 'tidewire/testing': `${DIST}testing.js` },
        footer: { js: 'console.log(JSON.stringify(await runTrap(process.argv[2])));' },
      });
      const { stdout } = await promisify(execFile)(process.execPath, [`${folder}/run.mjs`, at], { timeout: 30_000 });
      isAlive(JSON.parse(stdout) as Outcome);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

test('in Chromium, a trap while a frame is taken', async () => {
  const { page, errors, close } = await openPage(SCRIPT);
  try {
    isAlive(await page.evaluate(() => runTrap('core_frame')));
    expect(errors).toEqual([]);
  } finally {
    await close();
  }
}, 60_000);
