// Headless browsers of the system, driven by puppeteer-core: Chromium over its own protocol, Firefox over WebDriver BiDi.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import puppeteer from 'puppeteer-core';

/** No single measurement takes longer. */
export const LIMIT = 10 * 60_000;

const PROGRAMS = {
  Chromium: { variable: 'CHROME', names: ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'] },
  Firefox: { variable: 'FIREFOX', names: ['firefox', 'firefox-esr'] },
};

function find(which) {
  const { variable, names } = PROGRAMS[which];
  if (process.env[variable]) return process.env[variable];
  for (const name of names) {
    for (const dir of (process.env.PATH ?? '').split(delimiter)) {
      const file = join(dir, name);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {
        // Not here.
      }
    }
  }
  throw new Error(`${which} is not installed; install it, or set ${variable} to its path`);
}

/** Starts a browser. */
export async function launch(which) {
  const options = { executablePath: find(which), headless: true, protocolTimeout: LIMIT };
  if (which === 'Firefox') return puppeteer.launch({ ...options, browser: 'firefox' });
  return puppeteer.launch({
    ...options,
    args: [
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      '--js-flags=--expose-gc', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run',
    ],
  });
}
