// The page of all errors says something about every code there is.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from './markdown.js';
import { codes, errorsPage, gaps } from '../../www/docs/errors.mjs';

test('every code of the server, of closed connections and of the package has a text, and no other has', () => {
  expect(gaps(ROOT)).toEqual([]);
});

test('docs/errors.md is what the sources say: otherwise `npm run errors --workspace www`', () => {
  expect(readFileSync(join(ROOT, 'docs/errors.md'), 'utf8')).toBe(errorsPage(ROOT));
});

test('the page has all of them, with their numbers', () => {
  const page = errorsPage(ROOT);
  const { server, close, facade } = codes(ROOT);
  expect(server.length).toBeGreaterThan(9);
  expect(close.length).toBeGreaterThan(9);
  expect(facade.length).toBeGreaterThan(25);
  for (const name of facade) expect(page).toContain(`### ${name}\n`);
  for (const { name, number } of server) expect(page).toMatch(new RegExp(`### ${name}\\n\\n[^\\n]*On the wire: ${number}\\.`));
  for (const { name, number } of close) expect(page).toContain(`| ${number} | \`${name}\` |`);
});

test('the numbers on the page are those of the protocol', () => {
  const protocol = readFileSync(join(ROOT, 'PROTOCOL.md'), 'utf8');
  const { server, close } = codes(ROOT);
  for (const { name, number } of [...server, ...close]) expect(protocol).toContain(`| ${number} | ${name} |`);
});

test('who uses the client before its WebAssembly is there is told what to do', async () => {
  const slim = await import(join(ROOT, 'pkg/dist/slim.js')) as typeof import('tidewire');
  const use = (): unknown => slim.createClientReplica({ key: 'k', transport: new slim.InProcessTransport() });
  expect(use).toThrow(expect.objectContaining({ code: 'not_initialized', message: expect.stringContaining('await init()') }));
});
