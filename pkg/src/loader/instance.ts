// Instances of the client's program.

import { glue } from '#glue/client';
import type { Loaded } from '../core.js';
import { host } from '../patterns.js';

/** @internal An instance of the client's program. Another may be asked for, after a trap. */
export function instance(module: WebAssembly.Module): Loaded {
  const { Core, initSync } = glue(host);
  const { memory } = initSync({ module });
  return { Core, memory, again: () => instance(module) };
}
