// Workers at the edge: they may not compile; their bundler hands over a compiled module.

import module from './wasm/client/tidewire_bg.wasm';
import type { Loaded } from '../core.js';
import { instance } from './instance.js';

export function loadSync(): Loaded {
  return instance(module);
}

export async function load(): Promise<Loaded> {
  return loadSync();
}
