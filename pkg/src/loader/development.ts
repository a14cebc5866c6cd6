// Development builds of browsers: the wasm travels inside the script, as in `inline.ts`, because the address of a file
// beside it is lost where a bundler prepares packages for its development server (Vite before 8). It has to be asked for
// all the same, so that nothing works here that does not in production.

import base64 from './wasm/client/tidewire_bg.wasm?base64';
import type { Loaded } from '../core.js';
import { instance } from './instance.js';
import { compileNow } from './inside.js';

export function loadSync(): Loaded | undefined {
  return undefined;
}

export async function load(): Promise<Loaded> {
  return instance(compileNow(base64));
}
