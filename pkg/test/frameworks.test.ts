// One list of countries in every framework, in Chromium: a page with a server in it, and what a user sees and does.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { TestBrowser } from './frameworks/browser.js';
import { bundle } from './frameworks/bundle.js';

const FRAMEWORKS = { react: 'react.tsx', vue: 'vue.ts', svelte: 'svelte.ts', solid: 'solid.tsx', signals: 'signals.ts' };

/** Longer than what nobody shows any more is kept. */
const LINGER = 1_300;

let browser: TestBrowser;
beforeAll(async () => { browser = await TestBrowser.start(); });
afterAll(() => browser.stop());

const texts = (page: Page): Promise<string[]> => page.locator('li span').allTextContents();

const shows = (page: Page, list: string[]): Promise<unknown> => page.waitForFunction(
  (expected) => JSON.stringify(Array.from(document.querySelectorAll('li span'), (each) => each.textContent)) === expected,
  JSON.stringify(list),
);

const says = (page: Page, id: string, text: string): Promise<unknown> => page.waitForFunction(
  ([name, expected]) => document.getElementById(name!)?.textContent === expected,
  [id, text],
);

describe.each(Object.entries(FRAMEWORKS))('the list of countries in %s', (name, entry) => {
  test('shows, edits, deletes, follows others, survives a cut line, and leaves no subscription', async () => {
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

    if (name !== 'signals') {
      const before = (await travelled('countries')).up;
      await page.evaluate(() => {
        window.page!.unmount();
        window.page!.mount();
      });
      await shows(page, ['Italy: Rome!', 'España: Madrid', 'Polska: Warszawa']);
      expect((await travelled('countries')).up, 'who comes back at once finds the subscription').toBe(before);
    }

    await page.evaluate(() => window.page!.unmount());
    await page.waitForTimeout(LINGER);
    await page.evaluate(() => window.page!.write({ cca3: 'PRT', name: 'Portugal', capital: 'Lisboa' }));
    await page.waitForTimeout(100);
    expect((await travelled('Portugal')).down, 'nothing is sent to who has gone').toBe(0);
    expect(await texts(page)).toEqual([]);

    expect(complaints).toEqual([]);
    await page.close();
  });
});
