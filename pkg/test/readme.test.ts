// The JavaScript of the README runs as it is written there, against the built package.

import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const ROOT = new URL('../..', import.meta.url);

test("the README's JavaScript runs as written and prints what ada wrote and bob deleted", async () => {
  const readme = await readFile(new URL('README.md', ROOT), 'utf8');
  const [, code] = /^```js\n([^]*?)^```$/m.exec(readme) ?? [];
  expect(code, 'README.md has a block of js').toBeDefined();
  // Below the package, so that its name resolves to itself.
  const folder = await mkdtemp(fileURLToPath(new URL('pkg/dist/readme-', ROOT)));
  try {
    await writeFile(`${folder}/readme.mjs`, code!);
    const { stdout } = await promisify(execFile)(process.execPath, ['readme.mjs'], { cwd: folder, timeout: 20_000 });
    expect(stdout.trim().split('\n')).toEqual(['[]', "[ [ 'Rome' ] ]", '[]']);
  } finally {
    await rm(folder, { recursive: true });
  }
});
