// The reference server in the page: the module that the native server runs too, over memory.

export type { Link } from '../core.js';
export type { Environment } from '../environment.js';
export { type ErrorCode, TidewireError } from '../errors.js';
export type { Envelope } from '../transport/transport.js';
export type { Faults, Traffic } from './network.js';
export { ReferenceServer, type ReferenceServerOptions } from './reference_server.js';
export type {
  ServerDatastore, ServerDatastoreOptions, ServerGroup, ServerMailbox, ServerNotification, ServerPool,
} from './stores.js';
export type { Authorize, DatastoreRule, Grant, ObjectRule, Projection, Rules, View } from './rules.js';
