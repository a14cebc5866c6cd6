// Everything but the WebAssembly, for loaders that we do not know.

import { init as ready } from './init.js';
import { give } from './loader/slim.js';
import { compile } from './loader/load.js';

export * from './index.js';

/** What `init` takes: the contents of `tidewire/tidewire.wasm`, compiled or not, or where they are. */
export type WasmSource = WebAssembly.Module | BufferSource | Response | URL | string;

/**
 * Takes the WebAssembly core. Everything else of this entry point needs it first.
 *
 * @throws TidewireError `init_failed` if it cannot be fetched.
 */
export async function init(wasm: WasmSource | Promise<WasmSource>): Promise<void> {
  give(await contents(await wasm));
  await ready();
}

async function contents(wasm: WasmSource): Promise<WebAssembly.Module | BufferSource> {
  if (typeof wasm === 'string' || wasm instanceof URL) return compile(new URL(wasm, globalThis.location?.href));
  return 'arrayBuffer' in wasm ? wasm.arrayBuffer() : wasm;
}
