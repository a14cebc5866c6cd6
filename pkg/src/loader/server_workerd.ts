// Workers at the edge: compiled by their bundler.

import { initSync, ServerCore, ServerRules } from '#glue/server';
import module from './wasm/server/tidewire_bg.wasm';
import type { LoadedServer } from '../server/core.js';

export async function load(): Promise<LoadedServer> {
  initSync({ module });
  return { ServerCore, ServerRules };
}
