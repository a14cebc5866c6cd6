// The programs of docs/services.md run as they are written there, against the built package, and print what it says.

import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const ROOT = new URL('../..', import.meta.url);
const text = await readFile(new URL('docs/services.md', ROOT), 'utf8');
const programs = [...text.matchAll(/^## (.*)$[^]*?^```js\n([^]*?)^```$[^]*?^```text\n([^]*?)^```$/gm)];

let folder: string;
beforeAll(async () => { folder = await mkdtemp(fileURLToPath(new URL('pkg/dist/docs-', ROOT))); });
afterAll(() => rm(folder, { recursive: true }));

test('every section has a program and what it prints', () => {
  expect(programs.length).toBe(text.match(/^## /gm)?.length);
});

for (const [number, [, title, code, said]] of programs.entries()) {
  test(`"${title}" prints what it says`, async () => {
    // Below the package, so that its name resolves to itself.
    await writeFile(`${folder}/${number}.mjs`, code!);
    const { stdout } = await promisify(execFile)(process.execPath, [`${number}.mjs`], { cwd: folder, timeout: 20_000 });
    expect(stdout).toBe(said);
  });
}
