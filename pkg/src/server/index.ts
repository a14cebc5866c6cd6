// The reference server in the page: the module that the native server runs too, over memory.

export type { Link } from '../core.js';
export { type ErrorCode, TidewireError } from '../errors.js';
export {
  ReferenceServer, type ReferenceServerOptions, type ServerDatastore, type ServerDatastoreOptions,
} from './reference_server.js';
