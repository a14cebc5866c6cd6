// Node and its bundlers, and browsers in development: the server's wasm inside the script, as the client's is in `inline.ts`.

import { initSync, ServerCore, ServerRules } from '#glue/server';
import base64 from './wasm/server/tidewire_bg.wasm?base64';
import type { LoadedServer } from '../server/core.js';
import { compileNow } from './inside.js';

export async function load(): Promise<LoadedServer> {
  initSync({ module: compileNow(base64) });
  return { ServerCore, ServerRules };
}
