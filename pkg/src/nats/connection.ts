// A connection of the official client as the transport wants it: callbacks instead of iterators.

import { report } from '../failure.js';
import type { NatsConnection, NatsWatcher } from '../transport/nats.js';

/**
 * What is used of a connection of `@nats-io/nats-core`: of its `wsconnect` in browsers, of `connect` of
 * `@nats-io/transport-node` in Node.
 */
export interface OfficialNatsConnection {
  publish(subject: string, payload: Uint8Array): void;
  subscribe(
    subject: string,
    options: { callback: (error: Error | null, message: { readonly data: Uint8Array }) => void },
  ): { unsubscribe(): void };
  flush(): Promise<void>;
  status(): AsyncIterable<{ readonly type: string; readonly error?: unknown }>;
}

/**
 * Adapts a connection of the official client. It stays its owner's: this closes nothing, and breaks are mended by the
 * client's own reconnection, after which the replicas that can ask the authority do so.
 */
export function natsConnection(connection: OfficialNatsConnection): NatsConnection {
  return {
    publish: (subject, payload) => connection.publish(subject, payload),
    subscribe(subject, onMessage, onError) {
      const subscription = connection.subscribe(subject, {
        callback: (error, message) => {
          if (error) onError?.(error);
          else onMessage(message.data);
        },
      });
      return () => subscription.unsubscribe();
    },
    flush: () => connection.flush(),
    watch(watcher) {
      const statuses = connection.status();
      let isOver = false;
      void follow(statuses, watcher, () => isOver).catch(report);
      return () => {
        isOver = true;
        // Iterators of the official client can be ended from outside; any other ends with the next status.
        (statuses as { stop?: () => void }).stop?.();
      };
    },
  };
}

async function follow(
  statuses: ReturnType<OfficialNatsConnection['status']>, watcher: NatsWatcher, isOver: () => boolean,
): Promise<void> {
  for await (const { type, error } of statuses) {
    if (isOver()) return;
    if (type === 'reconnect') watcher.onReconnect();
    else if (type === 'error') watcher.onError(error);
  }
}
