// The recipes of docs/ for frameworks run as they are written there: only the server's address leads into the page.

import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestBrowser } from './frameworks/browser.js';
import { bundle } from './frameworks/bundle.js';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** What each application shows once its button, if it has one, is pressed. */
const PAGES: Record<string, { readonly page: string; readonly shows: string }> = {
  react: { page: 'react.md', shows: 'Italy: Rome' },
  vue: { page: 'vue.md', shows: 'Italy: Rome' },
  svelte: { page: 'svelte.md', shows: 'Italy: Rome' },
  solid: { page: 'solid.md', shows: 'Italy: Rome' },
  signals: { page: 'signals.md', shows: 'Countries (live): 1 countries' },
  'a custom element': { page: 'signals.md', shows: '1 countries' },
};

let browser: TestBrowser;
let folder: string;
beforeAll(async () => {
  browser = await TestBrowser.start();
  // Below the package, so that the names of packages resolve.
  folder = await mkdtemp(here('../dist/docs-'));
});
afterAll(async () => {
  await browser.stop();
  await rm(folder, { recursive: true });
});

/** The files of a page: each application begins with a `main`. */
async function applications(page: string): Promise<Map<string, string>[]> {
  const text = await readFile(here(`../../docs/${page}`), 'utf8');
  const applications: Map<string, string>[] = [];
  for (const [, code] of text.matchAll(/^```(?:tsx?|vue|svelte)\n([^]*?)^```$/gm)) {
    const name = /^(?:\/\/|<!--) (\S+)/.exec(code!)?.[1];
    expect(name, `a block of ${page} that names its file`).toBeDefined();
    if (applications.length === 0 || name!.startsWith('main.')) applications.push(new Map());
    applications.at(-1)!.set(name!, code!);
  }
  return applications;
}

/** Has every address lead to one server in the page. */
const inPage: Plugin = {
  name: 'in-page',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^tidewire$/ }, ({ namespace }) => (namespace === 'in-page' ? undefined : { path: 'tidewire', namespace: 'in-page' }));
    onLoad({ filter: /./, namespace: 'in-page' }, () => ({
      contents: `
        import { connect as dial } from 'tidewire/inline';
        import { ReferenceServer } from 'tidewire/server';
        export * from 'tidewire/inline';
        const server = ReferenceServer.create();
        export const connect = async (url, options) => dial(await server, options);
      `,
      resolveDir: dirname(here('.')),
    }));
  },
};

test.each(Object.keys(PAGES))('the recipe for %s runs as it is written', async (name) => {
  const { page: file, shows } = PAGES[name]!;
  const all = await applications(file);
  const sharing = Object.keys(PAGES).filter((other) => PAGES[other]!.page === file);
  expect(all).toHaveLength(sharing.length);
  const files = all[sharing.indexOf(name)]!;
  const target = join(folder, name.replaceAll(' ', '-'));
  await mkdir(target);
  for (const [path, code] of files) await writeFile(join(target, path), code);
  const main = [...files.keys()].find((path) => path.startsWith('main.'))!;
  const script = await bundle(join(target, main), 'browser', {}, [inPage]);
  const { page, complaints } = await browser.open(`docs-${name.replaceAll(' ', '-')}`, `${script}\ndocument.title = 'up';`);
  const add = page.getByRole('button', { name: 'Add Italy' });
  await page.waitForFunction(() => document.getElementById('root')!.childNodes.length > 0);
  if (await add.count() > 0) {
    await page.waitForFunction(() => document.body.textContent!.includes('(live)'));
    await add.click();
  }
  await page.waitForFunction((text) => document.body.textContent!.includes(text), shows);
  expect(complaints).toEqual([]);
  await page.close();
});
