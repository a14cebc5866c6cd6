// What the docs show works: every block of code in the repository's Markdown is run, parsed or checked.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { transformSync } from 'esbuild';
import { describe, expect, test } from 'vitest';
import { type Block, blocks, faultOf, promised, ROOT, run, triedElsewhere, typeErrors } from './markdown.js';

const ALL = blocks();
const ELSEWHERE = triedElsewhere();
const of = (...languages: string[]): Block[] => ALL.filter(({ language, notRun }) => languages.includes(language) && notRun === undefined);
const programs = of('js', 'ts', 'mjs').filter(({ file }) => !ELSEWHERE.has(file));

/** What these print is in no comment, for the README shows the code alone. */
const PRINTED: Record<string, string[]> = {
  'README.md': ['[]', "[ [ 'Rome' ] ]", '[]'],
};

describe('programs run as written, and print what they say', () => {
  test.concurrent.each(programs.map((block) => [block.where, block] as const))('%s', async (_, block) => {
    const printed = await run(block);
    const expected = promised(block.code);
    if (expected.length > 0) expect(printed.join(', ')).toBe(expected.join(', '));
    else if (block.language === 'js' && PRINTED[block.file]) expect(printed).toEqual(PRINTED[block.file]);
  }, 30_000);
});

test('programs in TypeScript have no type errors', async () => {
  expect(await typeErrors(programs.filter(({ language }) => language === 'ts'))).toBe('');
}, 60_000);

test('components are written in their language', () => {
  for (const { code, language, where } of of('jsx', 'tsx')) {
    expect(() => transformSync(code, { loader: language as 'tsx', jsx: 'automatic' }), where).not.toThrow();
  }
});

describe('lines for a shell name what exists', () => {
  test.each(of('sh', 'bash').map((block) => [block.where, block] as const))('%s', (_, block) => {
    const lines = block.code.replace(/\\\n/g, ' ').split('\n');
    expect(lines.map(faultOf).filter((fault) => fault !== undefined)).toEqual([]);
  });

  test('a command, flag, script or file that does not exist is noticed', () => {
    for (const line of [
      'cargo xtask fly', 'cargo xtask demo --fly', 'npm run fly --workspace pkg', 'node fly.mjs', 'tidewire-server fly', 'tidewire-server serve --fly', 'fly',
    ]) expect(faultOf(line), line).toBeDefined();
  });
});

describe('settings and values can be read', () => {
  test.each(of('json').map((block) => [block.where, block] as const))('%s', (_, block) => {
    expect(() => JSON.parse(block.code) as unknown).not.toThrow();
  });

  test.each(of('toml').map((block) => [block.where, block] as const))('%s names settings that exist', (_, block) => {
    const rust = ['config', 'limits', 'gate', 'serve'].map((name) => readFileSync(join(ROOT, `crates/server/src/${name}.rs`), 'utf8')).join('\n');
    const keys = [...block.code.matchAll(/^(\w+) = /gm)].map(([, key]) => key!);
    expect(keys.filter((key) => !new RegExp(`\\b${key}\\b`).test(rust))).toEqual([]);
  });
});

test('Rust in the docs is compiled: its page is part of the crate, as documentation', () => {
  const crate = readFileSync(join(ROOT, 'src/lib.rs'), 'utf8');
  for (const { where, file } of of('rust')) expect(crate, where).toContain(`include_str!("../${file}")`);
});

test('pages that bring a test of their own are among the docs, and not many', () => {
  expect(ELSEWHERE.size).toBeLessThan(12);
  expect(ELSEWHERE.has('docs/start.md')).toBe(false);
});

test('every block says what it is, and what is not run says why', () => {
  const tried = ['js', 'ts', 'mjs', 'jsx', 'tsx', 'sh', 'bash', 'json', 'toml', 'rust'];
  const unknown = ALL.filter(({ language, notRun, file }) => !tried.includes(language) && language !== 'text' && notRun === undefined && !ELSEWHERE.has(file));
  expect(unknown.map(({ where, language }) => `${where} ${language}`)).toEqual([]);
  expect(ALL.filter(({ notRun }) => notRun !== undefined).map(({ file, notRun }) => `${file}: ${notRun}`)).toEqual([
    'docs/inspector.md: it needs a page',
  ]);
});
