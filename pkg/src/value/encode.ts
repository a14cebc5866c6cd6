// JavaScript to MessagePack, for writes. What JSON would drop or change in silence is refused with the path to it.

import { invalid, TidewireError } from '../errors.js';

/** Deepest nesting, as on the wire. */
export const MAX_DEPTH = 64;

/** @internal */
export const utf8 = new TextEncoder();

// In `u` mode only a surrogate without its partner is a code point of its own.
const LONE_SURROGATE = /\p{Surrogate}/u;

type Path = readonly (string | number)[];

function unencodable(path: Path, what: string): TidewireError {
  const where = path.reduce<string>(
    (text, step) => text + (typeof step === 'number' ? `[${step}]` : /^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`),
    'value',
  );
  return new TidewireError('unencodable', `${where} ${what}`);
}

/**
 * Encodes `value` for a write.
 *
 * Fields that are `undefined` are left out and `undefined` in an array becomes `null`, as in JSON. A `BigInt` is
 * written as an integer of 64 bits.
 *
 * @throws TidewireError `unencodable` with the path to what cannot be written.
 */
export function encode(value: unknown): Uint8Array {
  const writer = new Writer();
  writer.value(value);
  return writer.finish();
}

/**
 * Checks what JavaScript may get wrong about a key; its length is the core's business.
 *
 * @throws TidewireError `invalid_argument`
 */
export function checkKey(key: unknown, what: string): asserts key is string {
  if (typeof key !== 'string' || LONE_SURROGATE.test(key)) throw invalid(`${what} must be a well-formed string`);
}

class Writer {
  #bytes = new Uint8Array(512);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;
  readonly #path: (string | number)[] = [];
  readonly #open: object[] = [];

  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  /** Makes room for `count` bytes and returns where they go. */
  #take(count: number): number {
    const from = this.#at;
    const need = from + count;
    if (need > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(need, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#at = need;
    return from;
  }

  /** A byte, then `size` bytes of the unsigned `number`. */
  #head(tag: number, size: 0 | 1 | 2 | 4, number = 0): void {
    const from = this.#take(1 + size);
    this.#bytes[from] = tag;
    if (size === 1) this.#view.setUint8(from + 1, number);
    if (size === 2) this.#view.setUint16(from + 1, number);
    if (size === 4) this.#view.setUint32(from + 1, number);
  }

  value(value: unknown): void {
    switch (typeof value) {
      case 'string': return this.#string(value);
      case 'number': return this.#number(value);
      case 'boolean': return this.#head(value ? 0xc3 : 0xc2, 0);
      case 'bigint': return this.#bigint(value);
      case 'object': return value === null ? this.#head(0xc0, 0) : this.#object(value);
      default: throw unencodable(this.#path, `is ${value === undefined ? 'undefined' : `a ${typeof value}`}, which cannot be sent`);
    }
  }

  #number(value: number): void {
    // -0 is no integer of MessagePack.
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      const from = this.#take(9);
      this.#bytes[from] = 0xcb;
      this.#view.setFloat64(from + 1, value);
    } else if (value >= 0) {
      if (value < 0x80) this.#head(value, 0);
      else if (value < 0x100) this.#head(0xcc, 1, value);
      else if (value < 0x10000) this.#head(0xcd, 2, value);
      else if (value < 0x100000000) this.#head(0xce, 4, value);
      else this.#wide(0xcf, BigInt(value));
    } else if (value >= -0x20) this.#head(value & 0xff, 0);
    else if (value >= -0x80) this.#head(0xd0, 1, value);
    else if (value >= -0x8000) this.#head(0xd1, 2, value);
    else if (value >= -0x80000000) this.#head(0xd2, 4, value);
    else this.#wide(0xd3, BigInt(value));
  }

  #bigint(value: bigint): void {
    const number = Number(value);
    if (Number.isSafeInteger(number)) this.#number(number);
    else if (BigInt.asUintN(64, value) === value) this.#wide(0xcf, value);
    else if (BigInt.asIntN(64, value) === value) this.#wide(0xd3, value);
    else throw unencodable(this.#path, 'is a BigInt of more than 64 bits: send it as a string');
  }

  #wide(tag: number, value: bigint): void {
    const from = this.#take(9);
    this.#bytes[from] = tag;
    this.#view.setBigUint64(from + 1, BigInt.asUintN(64, value));
  }

  #string(text: string): void {
    if (LONE_SURROGATE.test(text)) {
      throw unencodable(this.#path, 'holds half a surrogate pair, which UTF-8 cannot express: use toWellFormed()');
    }
    const encoded = utf8.encode(text);
    const length = encoded.length;
    if (length < 0x20) this.#head(0xa0 | length, 0);
    else if (length < 0x100) this.#head(0xd9, 1, length);
    else if (length < 0x10000) this.#head(0xda, 2, length);
    else this.#head(0xdb, 4, length);
    // Not one expression: taking room may replace the buffer.
    const from = this.#take(length);
    this.#bytes.set(encoded, from);
  }

  #object(value: object): void {
    if (value instanceof Uint8Array) return this.#binary(value);
    if (this.#open.includes(value)) throw unencodable(this.#path, 'contains itself');
    if (this.#open.length === MAX_DEPTH) throw unencodable(this.#path, `nests deeper than ${MAX_DEPTH} levels`);
    this.#open.push(value);
    if (Array.isArray(value)) this.#array(value);
    else this.#map(value);
    this.#open.pop();
  }

  #binary(value: Uint8Array): void {
    const length = value.length;
    if (length < 0x100) this.#head(0xc4, 1, length);
    else if (length < 0x10000) this.#head(0xc5, 2, length);
    else this.#head(0xc6, 4, length);
    const from = this.#take(length);
    this.#bytes.set(value, from);
  }

  #array(items: readonly unknown[]): void {
    const length = items.length;
    if (length < 0x10) this.#head(0x90 | length, 0);
    else if (length < 0x10000) this.#head(0xdc, 2, length);
    else this.#head(0xdd, 4, length);
    for (let i = 0; i < length; i++) {
      this.#path.push(i);
      this.value(items[i] === undefined ? null : items[i]);
      this.#path.pop();
    }
  }

  #map(object: object): void {
    const kind = Object.prototype.toString.call(object).slice(8, -1);
    if (kind === 'Date') throw unencodable(this.#path, 'is a Date: send its toISOString() or getTime()');
    if (kind !== 'Object') throw unencodable(this.#path, `is a ${kind}: convert it to plain objects, arrays or Uint8Array`);
    const entries = Object.entries(object).filter(([, value]) => value !== undefined);
    const length = entries.length;
    if (length < 0x10) this.#head(0x80 | length, 0);
    else if (length < 0x10000) this.#head(0xde, 2, length);
    else this.#head(0xdf, 4, length);
    for (const [key, value] of entries) {
      this.#path.push(key);
      this.#string(key);
      this.value(value);
      this.#path.pop();
    }
  }
}
