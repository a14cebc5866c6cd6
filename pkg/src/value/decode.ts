// MessagePack to JavaScript, for bytes that no core has read: those of other transports, and of the server in the page.
// What the client's core holds is read from tapes instead (tape.ts), which is faster.

import { TidewireError } from '../errors.js';
import { MAX_DEPTH } from './encode.js';

// A leading U+FEFF is part of the string.
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });

function malformed(what: string): TidewireError {
  return new TidewireError('malformed_value', `the bytes are no value: ${what}`);
}

/**
 * Decodes one value.
 *
 * Integers beyond 2^53 become `BigInt`; binary data is copied.
 *
 * @throws TidewireError `malformed_value` for anything else than one value of at most 64 levels, with strings as keys.
 */
export function decode(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const value = reader.value(MAX_DEPTH);
  if (reader.at !== bytes.length) throw malformed('bytes are left over');
  return value;
}

/** Where each of the values ends that lie in `bytes`, one after the other. */
export function ends(bytes: Uint8Array): number[] {
  const reader = new Reader(bytes);
  const found: number[] = [];
  while (reader.at < bytes.length) {
    // A message adds levels of its own around a value.
    reader.value(MAX_DEPTH + 6);
    found.push(reader.at);
  }
  return found;
}

class Reader {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Moves past `count` bytes and returns where they begin. */
  #skip(count: number): number {
    const from = this.at;
    if (count > this.#bytes.length - from) throw malformed('they end too early');
    this.at = from + count;
    return from;
  }

  value(levels: number): unknown {
    const view = this.#view;
    const tag = this.#bytes[this.#skip(1)]!;
    if (tag < 0x80) return tag;
    if (tag >= 0xe0) return tag - 0x100;
    if (tag < 0x90) return this.#map(tag & 0x0f, levels);
    if (tag < 0xa0) return this.#array(tag & 0x0f, levels);
    if (tag < 0xc0) return this.#string(tag & 0x1f);
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.#binary(view.getUint8(this.#skip(1)));
      case 0xc5: return this.#binary(view.getUint16(this.#skip(2)));
      case 0xc6: return this.#binary(view.getUint32(this.#skip(4)));
      case 0xca: return view.getFloat32(this.#skip(4));
      case 0xcb: return view.getFloat64(this.#skip(8));
      case 0xcc: return view.getUint8(this.#skip(1));
      case 0xcd: return view.getUint16(this.#skip(2));
      case 0xce: return view.getUint32(this.#skip(4));
      case 0xcf: return narrowed(view.getBigUint64(this.#skip(8)));
      case 0xd0: return view.getInt8(this.#skip(1));
      case 0xd1: return view.getInt16(this.#skip(2));
      case 0xd2: return view.getInt32(this.#skip(4));
      case 0xd3: return narrowed(view.getBigInt64(this.#skip(8)));
      case 0xd9: return this.#string(view.getUint8(this.#skip(1)));
      case 0xda: return this.#string(view.getUint16(this.#skip(2)));
      case 0xdb: return this.#string(view.getUint32(this.#skip(4)));
      case 0xdc: return this.#array(view.getUint16(this.#skip(2)), levels);
      case 0xdd: return this.#array(view.getUint32(this.#skip(4)), levels);
      case 0xde: return this.#map(view.getUint16(this.#skip(2)), levels);
      case 0xdf: return this.#map(view.getUint32(this.#skip(4)), levels);
      default: throw malformed(`0x${tag.toString(16)} begins none`);
    }
  }

  #binary(length: number): Uint8Array {
    // Not `slice`: that of a `Buffer` shares its memory.
    return new Uint8Array(this.#bytes.subarray(this.#skip(length), this.at));
  }

  #string(length: number): string {
    const from = this.#skip(length);
    try {
      return utf8.decode(this.#bytes.subarray(from, this.at));
    } catch {
      throw malformed('a string is not UTF-8');
    }
  }

  #array(length: number, levels: number): unknown[] {
    this.#enter(length, levels);
    const items: unknown[] = [];
    for (let i = 0; i < length; i++) items.push(this.value(levels - 1));
    return items;
  }

  #map(length: number, levels: number): Record<string, unknown> {
    this.#enter(2 * length, levels);
    const object: Record<string, unknown> = {};
    for (let i = 0; i < length; i++) {
      const key = this.value(0);
      if (typeof key !== 'string') throw malformed('a key of a map is no string');
      const value = this.value(levels - 1);
      // Assigning to `__proto__` would change the prototype instead of making a property.
      if (key === '__proto__') Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
      else object[key] = value;
    }
    return object;
  }

  #enter(parts: number, levels: number): void {
    if (levels <= 0) throw malformed('they nest too deep');
    // Every part has a byte at least: a length that the bytes cannot hold allocates nothing.
    if (parts > this.#bytes.length - this.at) throw malformed('they end too early');
  }
}

function narrowed(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
