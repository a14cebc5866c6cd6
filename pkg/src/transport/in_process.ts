// The transport within one process: a keyed emitter that delivers by plain calls.

import { deliver, type Envelope, type EnvelopeHandler, type Transport, type Unsubscribe } from './transport.js';

/** Writers and readers in one process. Delivery is a synchronous call, in the order of subscription. */
export class InProcessTransport implements Transport {
  // A key is here only while somebody listens, so that keys that come and go leave nothing behind.
  readonly #handlers = new Map<string, Set<EnvelopeHandler>>();

  publish(key: string, envelope: Envelope): void {
    const handlers = this.#handlers.get(key);
    if (handlers !== undefined) deliver(handlers, envelope);
  }

  subscribe(key: string, handler: EnvelopeHandler): Unsubscribe {
    let handlers = this.#handlers.get(key);
    if (handlers === undefined) this.#handlers.set(key, (handlers = new Set()));
    handlers.add(handler);
    let active = true;
    return () => {
      if (!active) return;
      active = false;
      const present = this.#handlers.get(key);
      if (present?.delete(handler) && present.size === 0) this.#handlers.delete(key);
    };
  }

  /** The number of keys that somebody listens to. */
  keyCount(): number {
    return this.#handlers.size;
  }
}
