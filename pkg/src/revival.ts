// What happens after a trap: a broken invariant of the core, which cannot go on. The program starts again in a memory of
// its own, and every client and replica begins anew in it: what is shown stays, and is asked for again.

import type { Loaded } from './core.js';
import { TidewireError } from './errors.js';
import { report } from './failure.js';
import { replace } from './init.js';

/** What lives in a core. */
export interface Revivable {
  /** The instance that it lives in. */
  readonly loaded: Loaded;
  /** Takes out what can be had without asking the core. */
  save(): void;
  /** Begins anew in another core. */
  revive(loaded: Loaded): void;
  settle(): void;
}

/** Traps in this time, in milliseconds, ... */
const PERIOD = 60_000;
/** ... beyond which the core stays down: what breaks it comes again each time, and servers should not be asked for ever. */
const MOST_TRAPS = 5;

const all = new Set<WeakRef<Revivable>>();
let traps: number[] = [];

/** Has `one` revived after a trap, until the returned function is called. It is not kept alive by that. */
export function enlist(one: Revivable): () => void {
  const ref = new WeakRef(one);
  all.add(ref);
  return () => void all.delete(ref);
}

/** Begins anew if `error` says that `broken` has trapped. Returns whether it did. */
export function recover(error: unknown, broken: Loaded): boolean {
  if (!isTrap(error)) return false;
  const now = Date.now();
  traps = traps.filter((at) => now - at < PERIOD);
  if (traps.length >= MOST_TRAPS) return false;
  traps.push(now);
  const members = [...all].map((ref) => ref.deref()).filter((one) => one?.loaded === broken) as Revivable[];
  const loaded = replace(broken);
  for (const one of members) one.save();
  for (const one of members) one.revive(loaded);
  report(new TidewireError(
    'core_failed',
    `Tidewire's WebAssembly failed and was started again (${error.message}); what is shown is asked for again. This is a fault of the package: please report it`,
    { cause: error, retryable: true },
  ));
  for (const one of members) one.settle();
  return true;
}

/** A trap, or what calls into an instance say that has trapped in the middle of another call. */
function isTrap(error: unknown): error is Error {
  return error instanceof WebAssembly.RuntimeError
    || (error instanceof Error && error.message.startsWith('recursive use of an object detected'));
}
