// Browsers: the wasm is a file of its own, fetched and compiled while it streams in.

import type { Loaded } from '../core.js';
import { instance } from './instance.js';
import { compile } from './load.js';

export function loadSync(): Loaded | undefined {
  return undefined;
}

export async function load(): Promise<Loaded> {
  // Bundlers look for exactly this expression.
  return instance(await compile(new URL('./wasm/client/tidewire_bg.wasm', import.meta.url)));
}
