// `synced(key)`: the replica of a key, over whatever the application has set up once.

import type { Client } from './client.js';
import { type ClientReplicaOptions, createClientReplica, type Refetch } from './client_replica.js';
import { TidewireError } from './errors.js';
import type { Replica } from './replica.js';
import type { Output, Schema } from './schema.js';
import type { SyncedOptions } from './synced.js';
import type { Envelope, Transport } from './transport/transport.js';

/** Where `synced` takes values from. */
export type SyncedSource =
  /** A client's session: objects of the authority. */
  | { readonly client: Client }
  /** A transport of the application's own. */
  | {
    readonly transport: Pick<Transport, 'subscribe'>;
    /** How to recover from gaps, by key: for instance `(key) => httpRefetch(`/objects/${key}`)`. */
    readonly refetch?: ((key: string) => Refetch) | undefined;
    /** The value to begin with, by key, for instance from a server-rendered page. */
    readonly seed?: ((key: string) => Envelope | undefined) | undefined;
  };

/** How to show a synced value. Over a client's session only the cells count. */
export type SyncedKeyOptions<T> = SyncedOptions<T>
  & Pick<ClientReplicaOptions<undefined, T>, 'seed' | 'refetch' | 'schemaVersion' | 'onGap' | 'retry'>;

let source: SyncedSource | undefined;

/**
 * Says once where `synced` takes values from; `undefined` forgets it. It holds for the whole page: a program that serves
 * several users calls `client.synced` or `createClientReplica` instead.
 */
export function configureSynced(given: SyncedSource | undefined): void {
  source = given;
}

/**
 * The replica of one key, over what `configureSynced` was given.
 *
 * @throws TidewireError `not_initialized` before that.
 */
export function synced<S extends Schema>(key: string, schema: S, options?: SyncedKeyOptions<Output<S>>): Replica<Output<S>>;
export function synced<T = unknown>(key: string, schema?: undefined, options?: SyncedKeyOptions<T>): Replica<T>;
export function synced(key: string, schema?: Schema, options: SyncedKeyOptions<unknown> = {}): Replica<unknown> {
  if (source === undefined) {
    throw new TidewireError('not_initialized', 'synced: call configureSynced({ client }) or configureSynced({ transport, refetch }) first');
  }
  if ('client' in source) return source.client.synced(key, schema as never, options as never);
  const { transport, refetch, seed } = source;
  const all = { key, transport, refetch: refetch?.(key), seed: seed?.(key), ...options };
  return schema === undefined ? createClientReplica(all) : createClientReplica({ ...all, schema });
}
