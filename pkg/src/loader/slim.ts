// Nowhere in particular: the application hands the WebAssembly over, so no bundler finds or copies a file.

import { TidewireError } from '../errors.js';
import type { Loaded } from '../core.js';
import { instance } from './instance.js';
import { compileNow } from './inside.js';

let given: Loaded | undefined;

/** @internal Takes a compiled module, or the bytes of one. */
export function give(module: WebAssembly.Module | BufferSource): void {
  given = instance(module instanceof WebAssembly.Module ? module : compileNow(module));
}

export function loadSync(): Loaded | undefined {
  return given;
}

export async function load(): Promise<Loaded> {
  if (given !== undefined) return given;
  throw new TidewireError('not_initialized', "this is 'tidewire/slim': call its `init` with the WebAssembly first");
}
