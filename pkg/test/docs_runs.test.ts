// The programs of docs/nats.md and docs/testing.md run as they are written there, against the built package.

import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { NatsServer } from './nats_server.js';

const ROOT = new URL('../..', import.meta.url);
const VITEST = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs');

const run = promisify(execFile);

/** The programs of a page, in a folder below the package, so that its name resolves to itself. */
async function programs<T>(page: string, use: (blocks: string[], folder: string) => Promise<T>): Promise<T> {
  const text = await readFile(new URL(`docs/${page}`, ROOT), 'utf8');
  const folder = await mkdtemp(fileURLToPath(new URL('pkg/dist/docs-', ROOT)));
  try {
    return await use([...text.matchAll(/^```js\n([^]*?)^```$/gm)].map(([, code]) => code!), folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('docs/nats.md shows what was fetched, and then what was published', async () => {
  const server = await NatsServer.start();
  try {
    await programs('nats.md', async ([program], folder) => {
      await writeFile(`${folder}/nats.mjs`, program!);
      const { stdout } = await run(process.execPath, ['nats.mjs'], { cwd: folder, timeout: 20_000, env: { ...process.env, NATS_URL: server.url } });
      expect(stdout.trim().split('\n')).toEqual(["{ name: 'Ada' }", "{ name: 'Ada L.' }"]);
    });
  } finally {
    await server.stop();
  }
});

test('docs/testing.md has a test that passes, and rules that hold', async () => {
  await programs('testing.md', async ([application, rules], folder) => {
    await writeFile(`${folder}/todos.test.mjs`, application!);
    await writeFile(`${folder}/vitest.config.mjs`, "export default { test: { include: ['*.test.mjs'] } };");
    const { stdout } = await run(process.execPath, [VITEST, 'run', '--root', folder], { cwd: folder, timeout: 40_000, env: { ...process.env, NO_COLOR: '1' } });
    expect(stdout).toMatch(/Tests\s+1 passed/);
    await writeFile(`${folder}/rules.mjs`, rules!);
    const rulesRun = await run(process.execPath, ['rules.mjs'], { cwd: folder, timeout: 20_000 });
    expect(rulesRun.stdout.trim()).toBe("{ name: 'user:ada', mail: '' } { name: 'user:bob' } forbidden");
  });
}, 60_000);
