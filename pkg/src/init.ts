// The core, loaded once per page.

import { load, loadSync } from '#loader';
import type { Loaded } from './core.js';
import { TidewireError } from './errors.js';

let loaded: Loaded | undefined;
let loading: Promise<void> | undefined;

/**
 * Loads the WebAssembly core. Called again, it returns the same promise; a failed load can be tried again.
 *
 * Needed in browsers before {@link createClientReplica}; `connect` awaits it by itself, and Node loads at the first use.
 */
export function init(): Promise<void> {
  loading ??= (async () => {
    try {
      loaded ??= await load();
    } catch (error) {
      loading = undefined;
      throw error;
    }
  })();
  return loading;
}

/** @internal Puts another instance into the place of one that has trapped; of no other. */
export function replace(broken: Loaded): Loaded {
  if (loaded === broken) loaded = broken.again();
  return core();
}

/** @internal The core, or an error that says how to get it. */
export function core(): Loaded {
  loaded ??= loadSync();
  if (loaded === undefined) {
    throw new TidewireError(
      'not_initialized',
      "Tidewire's WebAssembly is not loaded yet: `await init()` before this call, or import from 'tidewire/inline'",
    );
  }
  return loaded;
}
