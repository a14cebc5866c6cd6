// Everywhere, and Node: the wasm travels inside the script, at a third more bytes, and is there at once. A file beside the
// script would have to be found again by whatever bundles programs for servers.

import base64 from './wasm/client/tidewire_bg.wasm?base64';
import type { Loaded } from '../core.js';
import { instance } from './instance.js';
import { compileNow } from './inside.js';

export function loadSync(): Loaded {
  return instance(compileNow(base64));
}

export async function load(): Promise<Loaded> {
  return loadSync();
}
