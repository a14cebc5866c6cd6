// Node: read from disk at the first use, so that importing costs nothing and nobody has to await anything.

import { readFileSync } from 'node:fs';
import { Core, initSync } from '#glue/client';
import type { Loaded } from '../core.js';

export function loadSync(): Loaded {
  const { memory } = initSync({ module: readFileSync(new URL('./wasm/client/tidewire_bg.wasm', import.meta.url)) });
  return { Core, memory };
}

export async function load(): Promise<Loaded> {
  return loadSync();
}
