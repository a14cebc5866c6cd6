// Everywhere, and Node: the wasm travels inside the script, at a third more bytes, and is there at once. A file beside the
// script would have to be found again by whatever bundles programs for servers.

import base64 from './wasm/client/tidewire_bg.wasm?base64';
import type { Loaded } from '../core.js';
import { instance } from './instance.js';

export function loadSync(): Loaded {
  return instance(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
}

export async function load(): Promise<Loaded> {
  return loadSync();
}
