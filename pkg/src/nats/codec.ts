// How envelopes become payloads, and back.

import { TidewireError } from '../errors.js';
import type { EnvelopeCodec } from '../transport/nats.js';
import type { Envelope } from '../transport/transport.js';
import { decode } from '../value/decode.js';
import { encode } from '../value/encode.js';
import { fromJson, toJson } from '../value/json.js';

const toUtf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Envelopes in MessagePack: the smaller codec, and the one that keeps integers of 64 bits. A `BigInt` beyond 2^53 arrives
 * as one, a smaller one as a number.
 */
export const msgpackCodec: EnvelopeCodec = {
  encode: (envelope) => encode(envelope),
  decode: (payload) => envelope(decode(payload)),
};

/**
 * Envelopes in JSON, for writers and readers that have nothing else. What JSON lacks is an object with the only key `"$"`,
 * as in frames of `tidewire.v1.json`, and so is a `BigInt`: `{"$":["int","5"]}`.
 */
export const jsonCodec: EnvelopeCodec = {
  encode(sent) {
    // Says what cannot be sent, and where it is.
    encode(sent);
    return toUtf8.encode(JSON.stringify(toJson(sent)));
  },
  decode: (payload) => envelope(fromJson(JSON.parse(fromUtf8.decode(payload)))),
};

function envelope(value: unknown): Envelope {
  if (typeof value === 'object' && value !== null && 'sequence' in value) return value as Envelope;
  throw new TidewireError('malformed_value', 'it is no map with a sequence');
}
