// One list of countries in every framework and browser: a page with a server in it, and what a user sees and does.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Page } from 'puppeteer-core';
import { ENGINES, TestBrowser } from './frameworks/browser.js';
import { bundle } from './frameworks/bundle.js';
import { NOTES } from './frameworks/country.js';

const FRAMEWORKS = { react: 'react.tsx', vue: 'vue.ts', svelte: 'svelte.ts', solid: 'solid.tsx', signals: 'signals.ts' };

/** For a page, on a machine that does something else as well. */
const PATIENCE = 60_000;

/** Longer than what nobody shows any more is kept. */
const LINGER = 1_300;

const texts = (page: Page): Promise<(string | null)[]> => page.$$eval('li span', (all) => all.map((each) => each.textContent));

const shows = (page: Page, list: string[]): Promise<unknown> => page.waitForFunction(
  (expected) => JSON.stringify(Array.from(document.querySelectorAll('li span'), (each) => each.textContent)) === expected,
  {}, JSON.stringify(list),
);

const says = (page: Page, id: string, text: string): Promise<unknown> => page.waitForFunction(
  (name, expected) => document.getElementById(name)?.textContent === expected,
  {}, id, text,
);

const pause = (time: number): Promise<void> => new Promise((resolve) => { setTimeout(resolve, time); });

describe.each(ENGINES)('in %s', (engine) => {
  let browser: TestBrowser;
  beforeAll(async () => { browser = await TestBrowser.start(engine); });
  afterAll(() => browser.stop());

  describe('the list of countries', () => {
    const what = 'in %s shows, edits, deletes, follows others and keys, survives a cut line, and leaves no subscription';
    test.each(Object.entries(FRAMEWORKS))(what, async (name, entry) => {
      const { page, complaints } = await browser.open(name, await bundle(entry));
      const travelled = (text: string): Promise<{ up: number; down: number }> => page.evaluate((what) => window.page!.travelled(what), text);

      await shows(page, ['Germany: Berlin', 'Spain: Madrid', 'France: Paris', 'Italy: Rome', 'Poland: Warsaw']);
      await says(page, 'count', '5');
      await says(page, 'status', 'live');
      expect((await travelled('countries')).up, 'effects that run twice subscribe once').toBe(1);

      await page.evaluate(() => window.page!.rendered());
      await page.locator('[data-key=ITA] .edit').click();
      await shows(page, ['Germany: Berlin', 'Spain: Madrid', 'France: Paris', 'Poland: Warsaw', 'Italy: Rome!']);
      expect(await page.evaluate(() => window.page!.rendered()), 'only the row that changed is rendered').toEqual(['ITA']);

      await page.locator('[data-key=FRA] .delete').click();
      await shows(page, ['Germany: Berlin', 'Spain: Madrid', 'Poland: Warsaw', 'Italy: Rome!']);

      await page.evaluate(() => window.page!.write({ cca3: 'ESP', name: 'España', capital: 'Madrid' }));
      await page.evaluate(() => window.page!.remove('DEU'));
      await shows(page, ['Poland: Warsaw', 'Italy: Rome!', 'España: Madrid']);

      await page.evaluate(() => window.page!.cut());
      await page.waitForFunction(() => document.getElementById('status')?.textContent !== 'live');
      await page.evaluate(() => window.page!.write({ cca3: 'POL', name: 'Polska', capital: 'Warszawa' }));
      expect(await texts(page), 'what was shown stays').toEqual(['Poland: Warsaw', 'Italy: Rome!', 'España: Madrid']);
      await page.evaluate(() => window.page!.mend());
      await says(page, 'status', 'live');
      await shows(page, ['Italy: Rome!', 'España: Madrid', 'Polska: Warszawa']);
      expect((await travelled('Rome!')).down, 'only what was missed is sent again').toBe(1);

      // The signals have neither keys that change nor replicas that linger.
      if (name !== 'signals') {
        for (const key of ['ITA', 'POL']) {
          await page.locator(`[data-key=${key}] span`).click();
          await says(page, 'note', NOTES[`note:${key}`]!.text);
        }
        expect((await travelled('note:')).up, 'each key is subscribed once').toBe(2);
        await pause(LINGER);
        await page.evaluate(() => window.page!.server.put('note:ITA', { text: 'Unheard' }));
        await pause(100);
        expect((await travelled('Unheard')).down, 'what is not shown any more is let go').toBe(0);

        const before = (await travelled('countries')).up;
        await page.evaluate(() => {
          window.page!.unmount();
          window.page!.mount();
        });
        await shows(page, ['Italy: Rome!', 'España: Madrid', 'Polska: Warszawa']);
        expect((await travelled('countries')).up, 'who comes back at once finds the subscription').toBe(before);
      }

      await page.evaluate(() => window.page!.unmount());
      await pause(LINGER);
      await page.evaluate(() => window.page!.write({ cca3: 'PRT', name: 'Portugal', capital: 'Lisboa' }));
      await pause(100);
      expect((await travelled('Portugal')).down, 'nothing is sent to who has gone').toBe(0);
      expect(await texts(page)).toEqual([]);

      expect(complaints).toEqual([]);
      await page.close();
    }, PATIENCE);
  });

  describe('the hooks of React', () => {
    let page: Page;
    let complaints: string[];
    beforeAll(async () => { ({ page, complaints } = await browser.open('hooks', await bundle('react_hooks.tsx'))); });
    afterAll(() => page.close());
    const run = (name: keyof Window['scenarios']): Promise<unknown> => page.evaluate((scenario) => window.scenarios[scenario as 'select'](), name);

    test('a part renders only when it changes, and stays the same object', async () => {
      expect(await run('select')).toEqual({
        before: 'Ada London 3', after: { text: 'Ada Paris 3', name: 0, address: expect.any(Number), length: 0 },
        last: 'Augusta Paris 7', addresses: 3,
      });
    });

    test('another key lets the old one go, and none asks for nothing', async () => {
      expect(await run('keys')).toEqual({ asked: 0, texts: ['nobody', 'Ada', 'Grace', 'Ada', 'nobody'], subscriptions: 2, heard: 0 });
    });

    test('a render that comes to nothing leaves no subscription', async () => {
      expect(await run('suspended')).toEqual({ asked: 1, heard: 0 });
    });

    test('all components show the same', async () => {
      expect(await run('tearing')).toEqual({ seen: [], latest: { left: 20, right: 20 }, own: [20, 20] });
    });

    test('a promised client is waited for, by writes too', async () => {
      expect(await run('promised')).toEqual(['none false 0 connecting -', 'client true 1 live 1']);
    });

    test('the failure of a promised client is its state', async () => {
      expect(await run('failed')).toMatch(/^closed init_failed: there is no client: no network/);
    });

    test('what the application made is shown, and stays its own', async () => {
      expect(await run('own')).toEqual(['- 1 1 1', '1 2 2 2', '3 rows']);
    });

    test('what a component has put into a pool goes after it', async () => {
      expect(await run('pool')).toEqual(['{}', '{"ada":1,"bob":2}', '{"bob":2}']);
    });

    test('one datastore is shown in two orders', async () => {
      expect(await run('order')).toBe('bac abc ');
    });

    test('mistakes are told with what to do, and a closed client shows nothing', async () => {
      expect(await run('mistakes')).toEqual({
        messages: [
          'TidewireError: there is no <TidewireProvider client={…}> above this component',
          expect.stringMatching(/does not support "\$dynamicRef"/), expect.stringMatching(/does not support "\$dynamicRef"/),
        ],
        closed: '',
      });
    });

    test('nothing of this is complained of', () => {
      expect(complaints).toEqual([]);
    });
  });
});
