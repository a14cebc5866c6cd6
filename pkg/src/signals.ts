// `tidewire/signals`: values as signals of the TC39 proposal, by its polyfill.
//
// Two ways: `createCell` makes the cells of a replica such signals, so that `get()`, `rows()` and `meta()` are tracked
// reads; `signalOf` and `statusSignal` make signals of what is there already.

import { Signal } from 'signal-polyfill';
import type { Cell } from './cell.js';
import type { Client, ClientStatus } from './client.js';
import type { ReplicaMeta } from './replica.js';
import { metaStore, type Source, statusStore, type Store, valueStore } from './store/index.js';

/** A cell over a `Signal.State`: give it as `createCell` to a replica or a collection. */
export function createCell<T>(initial: T): Cell<T> {
  const inner = new Signal.State(initial);
  return {
    get: () => inner.get(),
    peek: () => Signal.subtle.untrack(() => inner.get()),
    set: (value) => inner.set(value),
  };
}

const signals = new WeakMap<Store<unknown>, Signal.Computed<unknown>>();

/**
 * A store as a signal. It follows the store for as long as there is the store: a signal that nobody watches must be true,
 * too, when it is read.
 */
export function fromStore<V>(store: Store<V>): Signal.Computed<V> {
  let signal = signals.get(store) as Signal.Computed<V> | undefined;
  if (signal === undefined) {
    const version = new Signal.State(0);
    let changes = 0;
    store.subscribe(() => version.set(++changes));
    signal = new Signal.Computed(() => {
      version.get();
      return store.getSnapshot();
    });
    signals.set(store, signal);
  }
  return signal;
}

/** The value of a replica, or the rows of a collection. The same signal for the same replica, and gone with it. */
export function signalOf<V>(replica: Source<V>): Signal.Computed<V> {
  return fromStore(valueStore(replica));
}

/** Where a replica or collection stands. */
export function metaSignal(replica: Source): Signal.Computed<ReplicaMeta> {
  return fromStore(metaStore(replica));
}

/** The state of a client's session. */
export function statusSignal(client: Client): Signal.Computed<ClientStatus> {
  return fromStore(statusStore(client));
}
