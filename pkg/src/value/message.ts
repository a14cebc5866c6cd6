// What is sent beside values: operations and questions of the wire, arrays whose parts may be values.

import { encode } from './encode.js';

/** An array of parts that are encoded already. */
export function list(parts: readonly Uint8Array[]): Uint8Array {
  return joined(0x90, 0xdc, parts.length, parts);
}

/** An encoded map, of encoded values by name. */
export function map(fields: Iterable<readonly [string, Uint8Array]>): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [name, value] of fields) parts.push(encode(name), value);
  return joined(0x80, 0xde, parts.length / 2, parts);
}

/**
 * The operation or question of this kind. Each part is encoded by itself, so that what is wrong with it is told from its
 * own top, and its depth counts from there.
 *
 * @throws TidewireError `unencodable`
 */
export function message(kind: number, ...parts: readonly unknown[]): Uint8Array {
  return list([encode(kind), ...parts.map(encode)]);
}

function joined(short: number, long: number, count: number, parts: readonly Uint8Array[]): Uint8Array {
  const head = count < 0x10 ? [short | count] : [long, count >> 8, count & 0xff];
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, head.length));
  bytes.set(head);
  let at = head.length;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
