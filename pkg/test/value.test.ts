// Values on their way to bytes and back.

import { describe, expect, test } from 'vitest';
import { TidewireError } from 'tidewire';
import { decode } from './decode.js';
import { checkKey, encode } from '../src/value/encode.js';
import { randomFrom } from './support.js';

/** Decodes from the middle of a larger memory, as the core's memory is. */
function decoded(bytes: Uint8Array): unknown {
  const memory = new Uint8Array(bytes.length + 14).fill(0xc1);
  memory.set(bytes, 7);
  return decode(memory.buffer, 7, bytes.length);
}

const roundTrip = (value: unknown): unknown => decoded(encode(value));

const bytes = (...list: number[]): Uint8Array => Uint8Array.from(list);

describe('round trips', () => {
  const values: Record<string, unknown> = {
    null: null, true: true, false: false,
    'small integers': [0, 1, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, Number.MAX_SAFE_INTEGER],
    'negative integers': [-1, -32, -33, -128, -129, -32768, -32769, -2147483648, -2147483649, Number.MIN_SAFE_INTEGER],
    floats: [0.5, -1.25, 1e300, 5e-324, Math.PI, 2 ** 53, -(2 ** 60), Infinity, -Infinity, NaN],
    'integers of 64 bits': [2n ** 53n, 2n ** 63n - 1n, 2n ** 64n - 1n, -(2n ** 63n), -(2n ** 53n)],
    'short text': ['', 'a', 'état', '国家', '🌊', 'a\u0000b', '\ufeffwith a mark'],
    'text around every length of head': [31, 32, 255, 256, 65535, 65536].map((length) => 'x'.repeat(length)),
    'long text beyond ASCII': 'البحر والمدّ 国家 🌊 '.repeat(100),
    binary: [new Uint8Array(0), bytes(1, 2, 3), new Uint8Array(300).fill(7), new Uint8Array(70_000).fill(9)],
    'arrays around every length of head': [15, 16, 65535, 65536].map((length) => Array.from({ length }, () => 0)),
    'nested objects': { a: { b: [{ c: null }, [[]], {}], 'a key': 'ключ' }, ключ: 1 },
    'an object of many fields': Object.fromEntries(Array.from({ length: 70_000 / 10 }, (_, i) => [`k${i}`, i])),
  };
  for (const [name, value] of Object.entries(values)) {
    test(name, () => expect(roundTrip(value)).toEqual(value));
  }

  test('-0 stays -0', () => expect(Object.is(roundTrip(-0), -0)).toBe(true));

  test('a BigInt that a number holds comes back as a number', () => expect(roundTrip(5n)).toBe(5));

  test('binary data is a copy', () => {
    const memory = encode(bytes(1, 2, 3)).slice();
    const copy = decode(memory.buffer, 0, memory.length) as Uint8Array;
    memory.fill(0);
    expect(copy).toEqual(bytes(1, 2, 3));
  });

  test('ten thousand seeded values', () => {
    const random = randomFrom(20_261_121);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
    const letters = ['a', 'Z', '0', ' ', '\n', '"', '\u0000', 'é', 'я', 'م', '国', '🌊', '\uffff', '\u2028'];
    const text = (): string => Array.from({ length: Math.floor(random() ** 3 * 80) }, () => pick(letters)).join('');
    const value = (depth: number): unknown => {
      switch (Math.floor(random() * (depth > 4 ? 7 : 9))) {
        case 0: return null;
        case 1: return random() < 0.5;
        case 2: return Math.floor((random() - 0.5) * 2 ** Math.floor(random() * 54));
        case 3: return (random() - 0.5) * 10 ** Math.floor(random() * 40 - 20);
        case 4: case 5: return text();
        case 6: return Uint8Array.from({ length: Math.floor(random() * 20) }, () => Math.floor(random() * 256));
        case 7: return Array.from({ length: Math.floor(random() * 6) }, () => value(depth + 1));
        default: return Object.fromEntries(Array.from({ length: Math.floor(random() * 6) }, () => [text(), value(depth + 1)]));
      }
    };
    for (let i = 0; i < 10_000; i++) {
      const before = value(0);
      const after = roundTrip(before);
      // `toEqual` takes milliseconds on large failures; a plain failure names the round.
      if (!same(before, after)) expect(after, `round ${i}`).toEqual(before);
    }
  });
});

function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length
    && keys.every((key) => same((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]));
}

describe('decoding', () => {
  test('names that mean something to JavaScript become plain own properties', () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'prototype', '__defineGetter__', 'length', '0'];
    const source = Object.create(null) as Record<string, unknown>;
    for (const name of names) source[name] = { polluted: true };
    const result = roundTrip(source) as Record<string, unknown>;
    for (const name of names) expect(Object.getOwnPropertyDescriptor(result, name)?.value).toEqual({ polluted: true });
    expect(Object.getPrototypeOf(result)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect(Object.keys(result).sort()).toEqual([...names].sort());
  });

  test('names that share a place in the cache stay apart', () => {
    const keys = Array.from({ length: 5_000 }, (_, i) => `k${i}`);
    const object = Object.fromEntries(keys.map((key, i) => [key, i]));
    expect(roundTrip(object)).toEqual(object);
    expect(roundTrip(object)).toEqual(object);
    // The bytes of `é` are the code units of `Ã©`.
    expect(roundTrip({ 'é': 1 })).toEqual({ 'é': 1 });
    expect(roundTrip({ 'Ã©': 2 })).toEqual({ 'Ã©': 2 });
    expect(roundTrip({ 'é': 3 })).toEqual({ 'é': 3 });
  });

  test('floats of 32 bits and every width of integer', () => {
    expect(decoded(bytes(0xca, 0x3f, 0xc0, 0, 0))).toBe(1.5);
    expect(decoded(bytes(0xd0, 0x80))).toBe(-128);
    expect(decoded(bytes(0xd3, 0, 0, 0, 0, 0, 0, 0, 5))).toBe(5);
    expect(decoded(bytes(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))).toBe(2n ** 64n - 1n);
  });

  test('bytes that are no value are refused, and nothing outside of them is read', () => {
    const broken = [
      [], [0xc1], [0xc7, 1, 1, 1], [0xd9, 5, 0x61], [0xa5, 0x61], [0x81, 0x01, 0x01], [0x81, 0xa1, 0x61], [0x92, 1],
      [0xdd, 0xff, 0xff, 0xff, 0xff], [0xdf, 0xff, 0xff, 0xff, 0xff], [0xc6, 0xff, 0xff, 0xff, 0xff], [0xcb, 0], [1, 1],
    ];
    for (const each of broken) {
      expect(() => decoded(bytes(...each)), each.join(' ')).toThrow(/the bytes are no value/);
    }
  });
});

describe('encoding', () => {
  const refused = (value: unknown): TidewireError => {
    try {
      encode(value);
    } catch (error) {
      if (error instanceof TidewireError) return error;
      throw error;
    }
    throw new Error('it was not refused');
  };

  test('takes the shortest form', () => {
    expect([...encode(5)]).toEqual([5]);
    expect([...encode(-1)]).toEqual([0xff]);
    expect([...encode(200)]).toEqual([0xcc, 200]);
    expect([...encode({ a: 1 })]).toEqual([0x81, 0xa1, 0x61, 1]);
    expect(encode(1.5)).toHaveLength(9);
  });

  test('leaves out undefined fields and writes undefined elements as null, as JSON does', () => {
    expect(roundTrip({ a: undefined, b: 1, c: [undefined, , 2] })).toEqual({ b: 1, c: [null, null, 2] });
  });

  test('takes objects without prototype and of classes by their own fields', () => {
    class Point { constructor(readonly x: number) {} get double(): number { return 2 * this.x; } }
    expect(roundTrip(Object.assign(Object.create(null), { a: 1 }))).toEqual({ a: 1 });
    expect(roundTrip(new Point(3))).toEqual({ x: 3 });
  });

  test('names the path to what cannot be sent', () => {
    const cycle: { list: unknown[] } = { list: [] };
    cycle.list.push({ cycle });
    const cases: [unknown, RegExp][] = [
      [undefined, /^value is undefined/],
      [{ a: [1, () => 1] }, /^value\.a\[1\] is a function/],
      [{ a: { 'b c': Symbol('s') } }, /^value\.a\["b c"\] is a symbol/],
      [{ at: new Date(0) }, /^value\.at is a Date: send its toISOString/],
      [{ m: new Map() }, /^value\.m is a Map: convert/],
      [{ m: new Set() }, /^value\.m is a Set: convert/],
      [{ m: new Float32Array(1) }, /^value\.m is a Float32Array: convert/],
      [{ n: 2n ** 64n }, /^value\.n is a BigInt of more than 64 bits/],
      [{ n: -(2n ** 63n) - 1n }, /^value\.n is a BigInt of more than 64 bits/],
      [{ t: 'half \ud83c' }, /^value\.t holds half a surrogate pair/],
      [{ '\udf0a': 1 }, /half a surrogate pair/],
      [cycle, /^value\.list\[0\]\.cycle contains itself/],
    ];
    for (const [value, message] of cases) {
      const error = refused(value);
      expect(error.message).toMatch(message);
      expect(error.code).toBe('unencodable');
      expect(error.retryable).toBe(false);
    }
  });

  test('the same object twice is no cycle', () => {
    const shared = { a: 1 };
    expect(roundTrip([shared, shared])).toEqual([shared, shared]);
  });

  test('nests 64 levels deep and no deeper', () => {
    const nest = (levels: number): unknown => Array.from({ length: levels }).reduce<unknown>((inner) => [inner], 1);
    expect(roundTrip(nest(64))).toEqual(nest(64));
    expect(refused(nest(65)).message).toMatch(/nests deeper than 64 levels/);
  });

  test('keys are well-formed strings', () => {
    expect(() => checkKey('user:1', 'key')).not.toThrow();
    for (const key of ['\ud800', 5, undefined, null]) expect(() => checkKey(key, 'key')).toThrow(/well-formed string/);
  });
});
