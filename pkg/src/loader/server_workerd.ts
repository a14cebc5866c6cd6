// Workers at the edge: compiled by their bundler.

import { initSync, ServerCore } from '#glue/server';
import module from './wasm/server/tidewire_bg.wasm';
import type { ServerCoreConstructor } from '../server/core.js';

export async function load(): Promise<ServerCoreConstructor> {
  initSync({ module });
  return ServerCore;
}
