// Everywhere, and Node: the wasm travels inside the script, at a third more bytes, and is there at once. A file beside the
// script would have to be found again by whatever bundles programs for servers.

import { Core, initSync } from '#glue/client';
import base64 from './wasm/client/tidewire_bg.wasm?base64';
import type { Loaded } from '../core.js';

export function loadSync(): Loaded {
  const { memory } = initSync({ module: Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)) });
  return { Core, memory };
}

export async function load(): Promise<Loaded> {
  return loadSync();
}
