// Values as JSON: what it lacks is written as on the wire with the JSON codec, where an object with the only key `$` is
// an escape. Integers beyond 2^53, which `JSON.parse` would round, are one more.

import { TidewireError } from '../errors.js';

type Escaped = readonly ['bin' | 'float' | 'int', string] | readonly ['map', object];

const escaped = (...what: Escaped): object => ({ $: what });

/**
 * What `JSON.stringify` writes without loss.
 *
 * @throws TidewireError `unencodable` for what is neither JSON nor one of `bigint`, `Uint8Array` and all numbers.
 */
export function toJson(value: unknown): unknown {
  switch (typeof value) {
    case 'bigint': return escaped('int', String(value));
    case 'number':
      if (Object.is(value, -0)) return escaped('float', '-0');
      return Number.isFinite(value) ? value : escaped('float', String(value));
    case 'object': return value === null ? null : fromObject(value);
    case 'string': case 'boolean': return value;
    default: throw new TidewireError('unencodable', `the value holds a ${typeof value}, which JSON cannot say`);
  }
}

function fromObject(value: object): unknown {
  if (value instanceof Uint8Array) return escaped('bin', btoa(Array.from(value, (byte) => String.fromCharCode(byte)).join('')));
  if (Array.isArray(value)) return value.map((item) => toJson(item ?? null));
  const kind = Object.prototype.toString.call(value).slice(8, -1);
  if (kind !== 'Object') throw new TidewireError('unencodable', `the value holds a ${kind}, which JSON cannot say`);
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  // Defines each field, so that one that is called `__proto__` is a field like any other.
  const object = Object.fromEntries(entries.map(([key, each]) => [key, toJson(each)]));
  return isEscape(entries) ? escaped('map', object) : object;
}

/** The value that `toJson` made `json` of. */
export function fromJson(json: unknown): unknown {
  if (typeof json !== 'object' || json === null) return json;
  if (Array.isArray(json)) return json.map(fromJson);
  const entries = Object.entries(json);
  if (isEscape(entries)) return unescape(entries[0]![1] as Escaped);
  return Object.fromEntries(entries.map(([key, each]) => [key, fromJson(each)]));
}

const isEscape = (entries: readonly (readonly [string, unknown])[]): boolean => entries.length === 1 && entries[0]![0] === '$';

function unescape([kind, what]: Escaped): unknown {
  switch (kind) {
    case 'bin': return Uint8Array.from(atob(what), (byte) => byte.charCodeAt(0));
    case 'float': return Number(what);
    case 'int': return BigInt(what);
    case 'map': return Object.fromEntries(Object.entries(what).map(([key, each]) => [key, fromJson(each)]));
  }
}
