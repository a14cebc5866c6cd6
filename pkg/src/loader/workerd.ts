// Workers at the edge: they may not compile; their bundler hands over a compiled module.

import { Core, initSync } from '#glue/client';
import module from './wasm/client/tidewire_bg.wasm';
import type { Loaded } from '../core.js';

export function loadSync(): Loaded {
  const { memory } = initSync({ module });
  return { Core, memory };
}

export async function load(): Promise<Loaded> {
  return loadSync();
}
