// The public names of the package. What differs between environments is only how the WebAssembly is loaded (#loader).

export { type Cell, type CreateCell, signalCell } from './cell.js';
export {
  type Client, type ClientStatus, connect, type ConnectOptions, type ConnectTarget, type LinkSource, type TokenReason, type WebSocketClass,
} from './client.js';
export { type ClientReplicaOptions, createClientReplica, type Refetch, type RefetchContext } from './client_replica.js';
export type { Collection, DatastoreOptions } from './collection.js';
export { configureSynced, synced, type SyncedKeyOptions, type SyncedSource } from './configured.js';
export type { Link } from './core.js';
export type { Environment } from './environment.js';
export { type ErrorCode, TidewireError } from './errors.js';
export type { Inbox, Notification, NotificationStatus, NotifyOptions } from './inbox.js';
export { httpRefetch, type HttpRefetchOptions } from './http_refetch.js';
export { init } from './init.js';
export type { KvChanges, KvEvent, KvGroup, KvSetOptions } from './kv.js';
export type { Pool, PoolOptions } from './pool.js';
export type {
  Observable, Position, Replica, ReplicaEvents, ReplicaMeta, ReplicaStats, ReplicaStatus,
} from './replica.js';
export type {
  JsonSchema, Output, ParseResult, Schema, StandardIssue, StandardResult, StandardSchema, TaggedSchema,
} from './schema.js';
export type { DehydratedDatastore, DehydratedObject, DehydratedState } from './state.js';
export type { SyncedOptions } from './synced.js';
export { InProcessTransport } from './transport/in_process.js';
export { type EnvelopeCodec, type NatsConnection, NatsTransport, type NatsTransportOptions, type NatsWatcher } from './transport/nats.js';
export { WebSocketTransport, type WebSocketTransportOptions } from './transport/websocket.js';
export type { Envelope, EnvelopeHandler, Transport, TransportObserver, Unsubscribe } from './transport/transport.js';
