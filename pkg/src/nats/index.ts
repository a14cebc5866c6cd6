// NATS as a transport: everything of it, and nothing else of the package. It needs no WebAssembly, so a service that only
// publishes loads none.

export { type ErrorCode, TidewireError } from '../errors.js';
export {
  type EnvelopeCodec, type NatsConnection, NatsTransport, type NatsTransportOptions, type NatsWatcher,
} from '../transport/nats.js';
export type { Envelope, EnvelopeHandler, Transport, TransportObserver, Unsubscribe } from '../transport/transport.js';
export { jsonCodec, msgpackCodec } from './codec.js';
export { natsConnection, type OfficialNatsConnection } from './connection.js';
