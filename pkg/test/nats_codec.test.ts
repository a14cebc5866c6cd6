// What becomes of envelopes on their way through a codec.

import { describe, expect, test } from 'vitest';
import { type EnvelopeCodec, jsonCodec, msgpackCodec } from 'tidewire/nats';
import { decode as independent } from './decode.js';
import { randomFrom } from './support.js';

const codecs: [string, EnvelopeCodec][] = [['MessagePack', msgpackCodec], ['JSON', jsonCodec]];
const carry = (codec: EnvelopeCodec, value: unknown): unknown => codec.decode(codec.encode({ value, sequence: 1 })).value;

/** A value of what both codecs keep. */
function drawn(random: () => number, levels: number): unknown {
  const pick = Math.floor(random() * (levels > 0 ? 11 : 9));
  switch (pick) {
    case 0: return null;
    case 1: return random() < 0.5;
    case 2: return Math.floor(random() * 1e6) - 5e5;
    case 3: return (random() - 0.5) * 2 ** 60;
    case 4: return Number.MAX_SAFE_INTEGER - Math.floor(random() * 10);
    case 5: return ['', 'a', '€', '💧', '\u0000', '\ufeff', 'x'.repeat(300), '__proto__'][Math.floor(random() * 8)];
    case 6: return Uint8Array.from({ length: Math.floor(random() * 300) }, () => random() * 256);
    case 7: return [NaN, Infinity, -Infinity][Math.floor(random() * 3)];
    case 8: return random();
    case 9: return Array.from({ length: Math.floor(random() * 5) }, () => drawn(random, levels - 1));
    default: return Object.fromEntries(Array.from(
      { length: Math.floor(random() * 4) },
      () => [['$', 'a', 'b', '__proto__', '€', ''][Math.floor(random() * 6)]!, drawn(random, levels - 1)],
    ));
  }
}

describe.each(codecs)('%s', (_, codec) => {
  test('keeps an envelope with all its fields, and leaves out what it lacks', () => {
    const whole = { value: { a: [1, 'x', null] }, schema_version: '1.2', sequence: 7, epoch: 'e1', prev: 4 };
    expect(codec.decode(codec.encode(whole))).toEqual(whole);
    const bare = codec.decode(codec.encode({ value: 1, sequence: 0, epoch: undefined }));
    expect(Object.keys(bare).sort()).toEqual(['sequence', 'value']);
  });

  test('keeps what JSON lacks: binary data, NaN, infinities, a map with the only key "$"', () => {
    for (const value of [
      new Uint8Array([0, 255, 128]), new Uint8Array(20_000).fill(7), NaN, Infinity, -Infinity, { $: 1 }, { $: ['bin', 'AAEC'] },
      { $: { $: NaN } }, { $: ['map', { $: 1 }] }, { $: 1, a: 2 },
    ]) expect(carry(codec, value)).toEqual(value);
  });

  test('keeps 2,000 drawn values', () => {
    const random = randomFrom(4);
    for (let i = 0; i < 2_000; i++) {
      const value = drawn(random, 4);
      expect(carry(codec, value)).toEqual(value);
    }
  });

  test('a key named __proto__ stays a field', () => {
    const value = JSON.parse('{"__proto__":{"admin":true}}') as object;
    const got = carry(codec, value) as object;
    expect(Object.getPrototypeOf(got)).toBe(Object.prototype);
    expect(Object.keys(got)).toEqual(['__proto__']);
  });

  test('refuses what cannot be sent, with the path to it', () => {
    for (const [value, message] of [
      [{ a: [new Date()] }, 'value.value.a[0] is a Date'], [{ f: () => 1 }, 'value.value.f is a function'], [new Map(), 'is a Map'],
    ] as const) expect(() => carry(codec, value)).toThrow(message);
    const loop: { self?: unknown } = {};
    loop.self = loop;
    expect(() => carry(codec, loop)).toThrow('contains itself');
  });

  test('refuses payloads that are no envelope, whatever they are', () => {
    const random = randomFrom(5);
    const good = codec.encode({ value: { a: [1, 'text', new Uint8Array(3)] }, sequence: 1 });
    for (let i = 0; i < 20_000; i++) {
      const bad = i % 2 ? good.slice() : good.slice(0, Math.floor(random() * good.length));
      if (i % 2) for (let n = 0; n < 3; n++) bad[Math.floor(random() * bad.length)] = random() * 256;
      try {
        expect(codec.decode(bad)).toHaveProperty('sequence');
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }
    for (const text of ['', 'null', '1', '[]', '{}', '"x"']) {
      expect(() => codec.decode(new TextEncoder().encode(text))).toThrow();
    }
  });
});

test('MessagePack keeps integers of 64 bits, and what another decoder reads is the same', () => {
  for (const value of [2n ** 53n, 2n ** 64n - 1n, -(2n ** 63n), -(2n ** 53n)]) expect(carry(msgpackCodec, value)).toBe(value);
  expect(carry(msgpackCodec, 5n)).toBe(5);
  const bytes = msgpackCodec.encode({ value: { id: 2n ** 60n, text: 'é' }, sequence: 3 });
  expect(independent(bytes.slice().buffer, 0, bytes.length)).toEqual({ value: { id: 2n ** 60n, text: 'é' }, sequence: 3 });
});

test('JSON keeps every BigInt as one', () => {
  for (const value of [5n, 2n ** 64n - 1n, -(2n ** 63n)]) expect(carry(jsonCodec, value)).toBe(value);
});

test('MessagePack that nests without end, or claims more than it has, is refused at once', () => {
  const bombs = [
    new Uint8Array(100_000).fill(0x91), new Uint8Array([0xdd, 0xff, 0xff, 0xff, 0xff]), new Uint8Array([0xdf, 0xff, 0xff, 0xff, 0xff, 0xa0]),
    new Uint8Array([0xc6, 0xff, 0xff, 0xff, 0xff, 0]), new Uint8Array([0xc1]), new Uint8Array([0xd4, 1, 2]), new Uint8Array([0x81, 1, 2]),
    new Uint8Array([0xa2, 0xff, 0xff]), new Uint8Array([1, 2]), new Uint8Array(0),
  ];
  for (const bomb of bombs) expect(() => msgpackCodec.decode(bomb)).toThrow('the bytes are no value');
});
