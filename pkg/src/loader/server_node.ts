// Node: the server's wasm, from disk.

import { readFile } from 'node:fs/promises';
import { initSync, ServerCore } from '#glue/server';
import type { ServerCoreConstructor } from '../server/core.js';

export async function load(): Promise<ServerCoreConstructor> {
  initSync({ module: await readFile(new URL('./wasm/server/tidewire_bg.wasm', import.meta.url)) });
  return ServerCore;
}
