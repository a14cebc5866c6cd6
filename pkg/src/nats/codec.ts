// How envelopes become payloads, and back.

import { TidewireError } from '../errors.js';
import type { EnvelopeCodec } from '../transport/nats.js';
import type { Envelope } from '../transport/transport.js';
import { decode } from '../value/decode.js';
import { encode } from '../value/encode.js';

/** The only key of an object that stands for what JSON lacks, as on the wire. */
const ESCAPE = '$';

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
 * Envelopes in JSON, for writers and readers that have nothing else. Binary data and the floats that JSON lacks are
 * escaped, as in frames of `tidewire.v1.json`; a `BigInt` beyond 2^53 is refused with `unencodable`.
 */
export const jsonCodec: EnvelopeCodec = {
  encode(sent) {
    // Says what cannot be sent, and where it is.
    encode(sent);
    return toUtf8.encode(JSON.stringify(escaped(sent)));
  },
  decode: (payload) => envelope(unescaped(JSON.parse(fromUtf8.decode(payload)))),
};

function envelope(value: unknown): Envelope {
  if (typeof value === 'object' && value !== null && 'sequence' in value) return value as Envelope;
  throw new TidewireError('malformed_value', 'it is no map with a sequence');
}

function escaped(value: unknown): unknown {
  switch (typeof value) {
    case 'number': return Number.isFinite(value) ? value : { [ESCAPE]: ['float', String(value)] };
    case 'bigint': return narrow(value);
    case 'object': break;
    default: return value;
  }
  if (value === null) return value;
  if (value instanceof Uint8Array) return { [ESCAPE]: ['bin', toBase64(value)] };
  if (Array.isArray(value)) return value.map(escaped);
  // Not by assignment, which `__proto__` would turn into another prototype.
  const object = Object.fromEntries(
    Object.entries(value).filter(([, field]) => field !== undefined).map(([key, field]) => [key, escaped(field)]),
  );
  return isEscape(object) ? { [ESCAPE]: ['map', object] } : object;
}

function unescaped(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(unescaped);
  if (isEscape(value)) return meant(value[ESCAPE]);
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, unescaped(field)]));
}

/** What an escape stands for. */
function meant(escape: unknown): unknown {
  if (Array.isArray(escape) && escape.length === 2) {
    const [kind, content] = escape as [unknown, unknown];
    if (kind === 'bin' && typeof content === 'string') return fromBase64(content);
    if (kind === 'float' && /^(NaN|-?Infinity)$/.test(String(content))) return Number(content);
    if (kind === 'map' && typeof content === 'object' && content !== null && isEscape(content)) {
      return { [ESCAPE]: unescaped(content[ESCAPE]) };
    }
  }
  throw new TidewireError('malformed_value', 'an object with the only key "$" is no escape');
}

function isEscape(object: object): object is { [ESCAPE]: unknown } {
  return Object.keys(object).length === 1 && Object.hasOwn(object, ESCAPE);
}

function narrow(value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw new TidewireError('unencodable', 'JSON keeps no BigInt beyond 2^53: use msgpackCodec, or send it as a string');
}

/** Bytes of one call of `fromCharCode`: engines limit the number of arguments. */
const CHUNK = 8192;

function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (let from = 0; from < bytes.length; from += CHUNK) text += String.fromCharCode(...bytes.subarray(from, from + CHUNK));
  return btoa(text);
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
