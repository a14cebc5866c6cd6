// Browsers: the wasm is a file of its own, fetched and compiled while it streams in.

import instantiate, { Core } from '#glue/client';
import type { Loaded } from '../core.js';
import { compile } from './load.js';

export function loadSync(): Loaded | undefined {
  return undefined;
}

export async function load(): Promise<Loaded> {
  // Bundlers look for exactly this expression.
  const module = await compile(new URL('./wasm/client/tidewire_bg.wasm', import.meta.url));
  const { memory } = await instantiate({ module_or_path: module });
  return { Core, memory };
}
