// Browsers: the server's wasm is a file of its own too, fetched when the first server is created.

import instantiate, { ServerCore, ServerRules } from '#glue/server';
import type { LoadedServer } from '../server/core.js';
import { compile } from './load.js';

export async function load(): Promise<LoadedServer> {
  // Bundlers look for exactly this expression.
  const module = await compile(new URL('./wasm/server/tidewire_bg.wasm', import.meta.url));
  await instantiate({ module_or_path: module });
  return { ServerCore, ServerRules };
}
