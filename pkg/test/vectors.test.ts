// The protocol's golden files: what the Rust side writes is what this side reads and writes.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { decode } from './decode.js';
import { encode } from '../src/value/encode.js';

interface Vector {
  readonly name: string;
  readonly msgpack: string;
  readonly json: unknown;
}

/** A decoded token as the JSON codec writes it. An epoch is the only binary data outside of values. */
function said(token: unknown, isValue: boolean): unknown {
  if (token instanceof Uint8Array) {
    return isValue ? { $: ['bin', Buffer.from(token).toString('base64')] } : Buffer.from(token).toString('hex');
  }
  if (typeof token === 'number' && !Number.isFinite(token)) return { $: ['float', String(token)] };
  if (typeof token === 'bigint') return Number(token);
  if (Array.isArray(token)) return token.map((item) => said(item, isValue));
  if (token === null || typeof token !== 'object') return token;
  const entries = Object.entries(token).map(([key, item]) => [key, said(item, true)] as const);
  const object = Object.fromEntries(entries);
  return entries.length === 1 && entries[0]![0] === '$' ? { $: ['map', object] } : object;
}

describe.each(['client', 'server'])('the messages of a %s', (side) => {
  const file = new URL(`../../tests/vectors/${side}.json`, import.meta.url);
  const vectors = JSON.parse(readFileSync(file, 'utf8')) as Vector[];

  test.each(vectors)('$name $msgpack', ({ msgpack, json }) => {
    const bytes = new Uint8Array(Buffer.from(msgpack, 'hex'));
    const message = decode(bytes.buffer, bytes.byteOffset, bytes.length);
    expect([said(message, false)]).toEqual(json);
    expect(Buffer.from(encode(message)).toString('hex')).toBe(msgpack);
  });
});
