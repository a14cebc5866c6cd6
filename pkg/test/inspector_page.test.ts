// The inspector is for any page: whatever the page's styles, direction and policy are, twice on it, and with many replicas.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { type BrowserPage, openPage } from './browser.js';

let opened: BrowserPage;
beforeAll(async () => {
  opened = await openPage(new URL('inspector_page.ts', import.meta.url));
  await opened.page.waitForFunction(() => 'report' in globalThis);
  await opened.page.evaluate(() => globalThis.report.add(2));
  await opened.page.waitForTimeout(400);
}, 60_000);
afterAll(() => opened?.close());

/** Looks into the first inspector. */
const inside = <T>(look: (root: ShadowRoot) => T): Promise<T> => opened.page.evaluate(`(${String(look)})(report.inspectors[0].shadowRoot)`) as Promise<T>;

test('a page\'s styles do not reach it, nor does its direction or font size', async () => {
  const seen = await inside((root) => {
    const style = (selector: string): CSSStyleDeclaration => getComputedStyle(root.querySelector(selector)!);
    const { direction, letterSpacing, textTransform, color } = style('.why');
    const [name, status] = [root.querySelector('.name')!, root.querySelector('.status')!].map((each) => each.getBoundingClientRect());
    return { direction, letterSpacing, textTransform, isRed: color === 'rgb(255, 0, 0)', size: style('.fold').fontSize, white: style('.why').whiteSpace, isInOrder: name!.right <= status!.left };
  });
  expect(seen).toEqual({ direction: 'ltr', letterSpacing: 'normal', textTransform: 'none', isRed: false, size: '16px', white: 'normal', isInOrder: true });
});

test('a mark stands in its lane, at its moment', async () => {
  const { isInLane, fromEnd } = await inside((root) => {
    const paper = root.querySelector('.paper')!.getBoundingClientRect();
    const mark = root.querySelector('.mark[data-outcome=applied]')!.getBoundingClientRect();
    return { isInLane: Math.abs(mark.top - paper.top) < 1, fromEnd: (paper.right - (mark.left + mark.right) / 2) / (paper.width / 30) };
  });
  expect(isInLane).toBe(true);
  // Applied within the last seconds, and the present moment is half a second from the end.
  expect(fromEnd).toBeGreaterThan(0.4);
  expect(fromEnd).toBeLessThan(10);
});

test('a large value is one short line', async () => {
  expect(await inside((root) => root.querySelector('.value')!.textContent)).toMatch(/^\{"n":1,"text":"x{200,300}"?…$/);
});

test('under a strict policy nothing is refused', async () => {
  expect(await opened.page.evaluate(() => globalThis.report.violations)).toEqual([]);
  expect(opened.errors).toEqual([]);
});

test('a plot is walked through by keyboard as a slider, and its value changes only then', async () => {
  const { page } = opened;
  const plot = page.getByRole('slider', { name: 'What happened to record:0' }).first();
  await plot.focus();
  await page.evaluate(() => { for (let n = 0; n < 5; n++) globalThis.report.put('record:0', { n }); });
  await page.keyboard.press('Home');
  const first = await plot.getAttribute('aria-valuetext');
  expect(first).toMatch(/^applied /);
  expect(await plot.getAttribute('aria-valuenow')).toBe('1');
  await page.evaluate(() => globalThis.report.put('record:0', { n: 'more' }));
  await page.waitForTimeout(300);
  expect(await plot.getAttribute('aria-valuetext')).toBe(first);
  await page.keyboard.press('ArrowRight');
  expect(await plot.getAttribute('aria-valuenow')).toBe('2');
});

test('of fifty replicas the later ones are folded, and those far from the screen cost nothing', async () => {
  const { page } = opened;
  await page.evaluate(() => globalThis.report.add(48));
  await page.waitForTimeout(400);
  const counts = await inside((root) => ({
    tracks: root.querySelectorAll('.track').length,
    folded: root.querySelectorAll('.is-folded').length,
    marksOfFolded: root.querySelectorAll('.is-folded .mark').length,
  }));
  expect(counts).toEqual({ tracks: 50, folded: 42, marksOfFolded: 0 });
  // The second one is below all of the first, and its last track below all others.
  const far = await page.evaluate(() => globalThis.report.inspectors[1]!.shadowRoot!.querySelector('.track:last-child .value')!.textContent);
  expect(far).toBe('no value');
  await page.evaluate(() => globalThis.report.inspectors[1]!.shadowRoot!.querySelector('.track:last-child')!.scrollIntoView());
  await page.waitForTimeout(300);
  expect(await page.evaluate(() => globalThis.report.inspectors[1]!.shadowRoot!.querySelector('.track:last-child .value')!.textContent)).toMatch(/^\{"n":50,/);
  const fold = page.getByRole('button', { name: 'record:49' }).last();
  await fold.press('Enter');
  expect(await fold.getAttribute('aria-expanded')).toBe('true');
  await page.waitForTimeout(200);
  expect(await page.evaluate(() => globalThis.report.inspectors[1]!.shadowRoot!.querySelectorAll('.track:last-child .mark').length)).toBeGreaterThan(0);
});
