// MessagePack to JavaScript, straight from bytes: what the package shows is held against it, and tests read with it what
// the package sends. It shares no code with the package.

// A leading U+FEFF is part of the string.
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

// From about this length on, one call of TextDecoder is cheaper than a loop over the bytes.
const SHORT = 32;

// Property names repeat from record to record: this keeps their strings, found by a hash of their bytes.
const NAMES = 1024;
const names: (string | undefined)[] = new Array(NAMES);

let bytes: Uint8Array;
let view: DataView;
let at = 0;
let end = 0;

/**
 * Decodes the value in `memory` from `start`, `length` bytes long.
 *
 * Integers beyond 2^53 become `BigInt`; binary data is copied.
 */
export function decode(memory: ArrayBufferLike, start: number, length: number): unknown {
  if (bytes?.buffer !== memory) {
    bytes = new Uint8Array(memory);
    view = new DataView(memory);
  }
  at = start;
  end = start + length;
  const value = read();
  if (at !== end) throw malformed('bytes are left over');
  return value;
}

function malformed(what: string): Error {
  return new Error(`the bytes are no value: ${what}`);
}

/** Moves past `count` bytes and returns where they begin. */
function skip(count: number): number {
  const from = at;
  at += count;
  if (at > end) throw malformed('they end too early');
  return from;
}

function read(): unknown {
  const tag = bytes[skip(1)]!;
  if (tag < 0x80) return tag;
  if (tag >= 0xe0) return tag - 0x100;
  if (tag < 0x90) return map(tag & 0x0f);
  if (tag < 0xa0) return array(tag & 0x0f);
  if (tag < 0xc0) return string(tag & 0x1f);
  switch (tag) {
    case 0xc0: return null;
    case 0xc2: return false;
    case 0xc3: return true;
    case 0xc4: return binary(bytes[skip(1)]!);
    case 0xc5: return binary(view.getUint16(skip(2)));
    case 0xc6: return binary(view.getUint32(skip(4)));
    case 0xca: return view.getFloat32(skip(4));
    case 0xcb: return view.getFloat64(skip(8));
    case 0xcc: return bytes[skip(1)]!;
    case 0xcd: return view.getUint16(skip(2));
    case 0xce: return view.getUint32(skip(4));
    case 0xcf: return wide(view.getBigUint64(skip(8)));
    case 0xd0: return view.getInt8(skip(1));
    case 0xd1: return view.getInt16(skip(2));
    case 0xd2: return view.getInt32(skip(4));
    case 0xd3: return wide(view.getBigInt64(skip(8)));
    case 0xd9: return string(bytes[skip(1)]!);
    case 0xda: return string(view.getUint16(skip(2)));
    case 0xdb: return string(view.getUint32(skip(4)));
    case 0xdc: return array(view.getUint16(skip(2)));
    case 0xdd: return array(view.getUint32(skip(4)));
    case 0xde: return map(view.getUint16(skip(2)));
    case 0xdf: return map(view.getUint32(skip(4)));
    default: throw malformed(`a token 0x${tag.toString(16)}`);
  }
}

function wide(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function binary(length: number): Uint8Array {
  return bytes.slice(skip(length), at);
}

function string(length: number): string {
  const from = skip(length);
  if (length < SHORT) {
    let text = '';
    let i = from;
    for (; i < at; i++) {
      const byte = bytes[i]!;
      if (byte > 0x7f) break;
      text += String.fromCharCode(byte);
    }
    if (i === at) return text;
  }
  return utf8.decode(bytes.subarray(from, at));
}

/** A property name: as `string`, but kept. */
function name(): string {
  const tag = bytes[at]!;
  if (tag < 0xa0 || tag > 0xbf) {
    const other = read();
    if (typeof other !== 'string') throw malformed('a map key is no string');
    return other;
  }
  const length = tag & 0x1f;
  const from = at + 1;
  let hash = length;
  for (let i = from; i < from + length; i++) hash = (hash * 31 + bytes[i]!) | 0;
  hash &= NAMES - 1;
  const kept = names[hash];
  if (kept !== undefined && kept.length === length) {
    let i = 0;
    // A kept name of another script differs in its first code unit: bytes are below 256, and equal ones below 128 only.
    while (i < length && kept.charCodeAt(i) === bytes[from + i] && bytes[from + i]! < 0x80) i++;
    if (i === length) {
      skip(length + 1);
      return kept;
    }
  }
  skip(1);
  return (names[hash] = string(length));
}

function array(length: number): unknown[] {
  // Every element has a byte at least: a length that the bytes cannot hold allocates nothing.
  if (length > end - at) throw malformed('they end too early');
  const items: unknown[] = new Array(length);
  for (let i = 0; i < length; i++) items[i] = read();
  return items;
}

function map(length: number): Record<string, unknown> {
  const object: Record<string, unknown> = {};
  for (let i = 0; i < length; i++) {
    const key = name();
    const value = read();
    // Assigning to `__proto__` would change the prototype instead of making a property.
    if (key === '__proto__') {
      Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
    } else {
      object[key] = value;
    }
  }
  return object;
}

/** The messages of a frame: read as one array, whose head is put in front. */
export function messagesOf(frame: Uint8Array): unknown[][] {
  // A frame says not how many messages it has: try from one on, which is what a client sends nearly always.
  for (let count = 1; count < 16; count++) {
    const whole = new Uint8Array(frame.length + 1);
    whole[0] = 0x90 | count;
    whole.set(frame, 1);
    try {
      return decode(whole.buffer, 0, whole.length) as unknown[][];
    } catch {
      // Too few or too many.
    }
  }
  throw new Error('this is no frame of a client');
}
