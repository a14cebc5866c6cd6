// Node and its bundlers: the server's wasm inside the script, as the client's is in `inline.ts`.

import { initSync, ServerCore, ServerRules } from '#glue/server';
import base64 from './wasm/server/tidewire_bg.wasm?base64';
import type { LoadedServer } from '../server/core.js';

export async function load(): Promise<LoadedServer> {
  initSync({ module: Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)) });
  return { ServerCore, ServerRules };
}
