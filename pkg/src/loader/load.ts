// What the loaders of the different environments share.

import { textOf, TidewireError } from '../errors.js';

/** @internal Compiles what `url` serves; works with servers that send another type than `application/wasm`. */
export async function compile(url: URL): Promise<WebAssembly.Module> {
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return response.headers.get('content-type')?.startsWith('application/wasm')
      ? await WebAssembly.compileStreaming(response)
      : await WebAssembly.compile(await response.arrayBuffer());
  } catch (cause) {
    throw new TidewireError(
      'init_failed',
      `the WebAssembly file could not be loaded from ${url.href}: ${textOf(cause)}`,
      { cause, retryable: true },
    );
  }
}
