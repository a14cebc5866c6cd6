// What the loaders share that have the WebAssembly, and need not fetch it.

import { textOf, TidewireError } from '../errors.js';

/** @internal Compiles what a script holds as text, or what the application handed over. */
export function compileNow(program: string | BufferSource): WebAssembly.Module {
  try {
    return new WebAssembly.Module(typeof program === 'string' ? Uint8Array.from(atob(program), (char) => char.charCodeAt(0)) : program);
  } catch (cause) {
    throw new TidewireError('init_failed', `the WebAssembly could not be compiled: ${textOf(cause)}`, { cause });
  }
}
