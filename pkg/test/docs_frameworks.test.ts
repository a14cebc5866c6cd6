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

/** The button that some of them have, by what people who do not see it are told. */
const ADD = '::-p-aria([name="Add Italy"][role="button"])';

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

/** The files of a page, by the names in their first lines. */
function filesOf(page: string, text: string): (readonly [name: string, code: string])[] {
  return Array.from(text.matchAll(/^```(?:tsx?|vue|svelte)\n([^]*?)^```$/gm), ([, code]) => {
    const name = /^(?:\/\/|<!--) (\S+)/.exec(code!)?.[1];
    expect(name, `a block of ${page} that names its file`).toBeDefined();
    return [name!, code!];
  });
}

/** The applications of a page: each begins with a `main`. */
async function applications(page: string): Promise<Map<string, string>[]> {
  const applications: Map<string, string>[] = [];
  for (const [name, code] of filesOf(page, await readFile(here(`../../docs/${page}`), 'utf8'))) {
    if (applications.length === 0 || name.startsWith('main.')) applications.push(new Map());
    applications.at(-1)!.set(name, code);
  }
  return applications;
}

/** What there is before anybody asks; in a browser it has changed since a server rendered it. */
const COUNTRIES = `
  const countries = made.datastore('countries', { kind: 'permanent', primary: 'cca3' });
  countries.set({ cca3: 'ITA', name: 'Italy' });
  if (typeof document !== 'undefined') countries.set({ cca3: 'ITA', name: 'Italia' });
`;

/** Has every address lead to one server in the page or process. */
const inPage = (hasCountries = false): Plugin => ({
  name: 'in-page',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^tidewire$/ }, ({ namespace }) => (namespace === 'in-page' ? undefined : { path: 'tidewire', namespace: 'in-page' }));
    onLoad({ filter: /./, namespace: 'in-page' }, () => ({
      contents: `
        import { connect as dial } from 'tidewire/inline';
        import { ReferenceServer } from 'tidewire/server';
        export * from 'tidewire/inline';
        const server = ReferenceServer.create({ seed: 7 }).then((made) => {
          ${hasCountries ? COUNTRIES : ''}
          return made;
        });
        export const connect = async (url, options) => dial(await server, options);
      `,
      resolveDir: dirname(here('.')),
    }));
  },
});

test('the recipe for servers runs as it is written: it renders, and the page goes on from there', async () => {
  const text = await readFile(here('../../docs/ssr.md'), 'utf8');
  const target = join(folder, 'ssr');
  await mkdir(target);
  for (const [path, code] of filesOf('ssr.md', text)) await writeFile(join(target, path), code);
  const script = await bundle(join(target, 'server.tsx'), 'server', { external: ['react', 'react-dom'] }, [inPage(true)]);
  await writeFile(join(target, 'server.mjs'), script);
  const { handle } = await import(/* @vite-ignore */ join(target, 'server.mjs')) as { handle(token: string): Promise<string> };
  const html = await handle('a token');
  const { rendered, state } = /<div id="root">(?<rendered>.*)<\/div>(?<state><script type="application\/json".*?<\/script>)/.exec(html)!.groups!;
  expect(rendered).toContain('<li>Italy</li>');
  const main = await bundle(join(target, 'main.tsx'), 'browser', {}, [inPage(true)]);
  const { page, complaints } = await browser.open('docs-ssr', `${main}\ndocument.title = 'up';`, { rendered, head: state });
  await page.waitForFunction(() => document.querySelector('li')?.textContent === 'Italia');
  expect(complaints).toEqual([]);
  await page.close();
  // Nothing runs it here; pkg/fixtures/next does the same in Next.js.
  await bundle(join(target, 'providers.tsx'), 'browser', {}, [inPage(true)]);
});

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
  const script = await bundle(join(target, main), 'browser', {}, [inPage()]);
  const { page, complaints } = await browser.open(`docs-${name.replaceAll(' ', '-')}`, `${script}\ndocument.title = 'up';`);
  await page.waitForFunction(() => document.getElementById('root')!.childNodes.length > 0);
  if (await page.$(ADD) !== null) {
    await page.waitForFunction(() => document.body.textContent!.includes('(live)'));
    await page.locator(ADD).click();
  }
  await page.waitForFunction((text) => document.body.textContent!.includes(text), {}, shows);
  expect(complaints).toEqual([]);
  await page.close();
});
