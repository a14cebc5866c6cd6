// Numbers, names and texts that JavaScript engines, JSON and MessagePack see differently, on their way through the real
// server in both codecs. Runs in Node and, bundled, in browsers; so it uses nothing but the package and a WebSocket.

import { type Client, TidewireError } from 'tidewire';

/** One value: what it is called, what is written, and how a JSON frame says it. */
interface Case {
  readonly name: string;
  readonly value: unknown;
  readonly json: string;
  /** What is read where that is not what was written. */
  readonly read?: unknown;
}

const own = (...entries: readonly (readonly [string, unknown])[]): Record<string, unknown> => {
  const object: Record<string, unknown> = {};
  for (const [key, value] of entries) {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  }
  return object;
};

const number = (name: string, value: number, json: string): Case => ({ name, value, json });
const integer = (value: bigint): Case => {
  const isExact = value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER);
  return { name: `${value}n`, value, json: `${value}`, read: isExact ? Number(value) : value };
};
const named = (key: string): Case => ({
  name: `a field of ${key.length} units named ${JSON.stringify(key).slice(0, 40)}`,
  value: own([key, { polluted: true }], ['after', 1]),
  json: `{${JSON.stringify(key)}:{"polluted":true},"after":1}`,
});
const text = (name: string, value: string): Case => ({ name, value, json: JSON.stringify(value) });

/** The values. JSON text is as the server writes it. */
export const CASES: readonly Case[] = [
  number('zero', 0, '0'), number('minus zero', -0, '-0.0'), number('one half', 0.5, '0.5'),
  ...[31, 32, 53].flatMap((bits) => [-1, 0, 1].map((step) => integer(2n ** BigInt(bits) + BigInt(step)))),
  ...[31, 32, 53].flatMap((bits) => [-1, 0, 1].map((step) => integer(-(2n ** BigInt(bits)) + BigInt(step)))),
  integer(2n ** 63n - 1n), integer(2n ** 63n), integer(2n ** 63n + 1n), integer(2n ** 64n - 1n),
  integer(-(2n ** 63n)), integer(-(2n ** 63n) + 1n),
  number('2^53 as a float', 2 ** 53, '9007199254740992.0'), number('-2^60 as a float', -(2 ** 60), '-1.152921504606847e+18'),
  number('the smallest subnormal', 5e-324, '5e-324'), number('the largest subnormal', 2.225073858507201e-308, '2.225073858507201e-308'),
  number('the smallest normal', 2.2250738585072014e-308, '2.2250738585072014e-308'),
  number('the largest float', Number.MAX_VALUE, '1.7976931348623157e+308'), number('0.1 + 0.2', 0.1 + 0.2, '0.30000000000000004'),
  number('a float that fast parsers miss', 1.2338789709326767e-178, '1.2338789709326767e-178'),
  number('NaN', NaN, '{"$":["float","NaN"]}'),
  number('Infinity', Infinity, '{"$":["float","Infinity"]}'), number('-Infinity', -Infinity, '{"$":["float","-Infinity"]}'),
  ...[
    '__proto__', 'constructor', 'prototype', 'toString', 'valueOf', 'hasOwnProperty', '__defineGetter__', '__lookupSetter__',
    'then', 'toJSON', 'length', '', ' ', '\u0000', 'a\u0000b', '\ufeff', '\u2028', '🌊', 'ключ', '$', '$$', 'k'.repeat(1_024),
    'k'.repeat(4_096),
  ].map(named),
  { name: 'a map with the only key $', value: { $: ['bin', 'AA=='] }, json: '{"$":["map",{"$":["bin","AA=="]}]}' },
  { name: 'a map with the only key __proto__', value: own(['__proto__', null]), json: '{"__proto__":null}' },
  { name: '__proto__ at every level', value: own(['__proto__', own(['__proto__', own(['__proto__', 1])])]), json: '{"__proto__":{"__proto__":{"__proto__":1}}}' },
  { name: 'bytes', value: Uint8Array.of(0, 255, 128), json: '{"$":["bin","AP+A"]}' },
  text('an empty text', ''), text('NUL', '\u0000'), text('a mark first', '\ufeffa'), text('a whole pair', '\ud83c\udf0a'),
  text('the last code point', '\u{10ffff}'), text('what looks like a half', '\\ud83c'), text('no character', '\uffff'),
];

/** Values and names that nobody may write: each is refused here, before it is sent. */
export const REFUSED: readonly (readonly [string, (client: Client) => Promise<void>])[] = [
  ['half a pair', (client) => client.put('refused', '\ud83c')],
  ['the other half', (client) => client.put('refused', ['\udf0a'])],
  ['a pair in the wrong order', (client) => client.put('refused', { a: '\udf0a\ud83c' })],
  ['half a pair in a field', (client) => client.put('refused', own(['\ud800', 1]))],
  ['half a pair in a key', (client) => client.put('\ud800', 1)],
  ['an empty key', (client) => client.put('', 1)],
  ['a key of 1,025 bytes', (client) => client.put('k'.repeat(1_025), 1)],
  ['a key of 1,026 bytes in 342 characters', (client) => client.put('国'.repeat(342), 1)],
  ['2^64', (client) => client.put('refused', 2n ** 64n)],
  ['-2^63 - 1', (client) => client.put('refused', -(2n ** 63n) - 1n)],
];

/** Names of objects and records that are well-formed. */
export const KEYS: readonly string[] = [
  '__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '__defineGetter__', '\u0000', ' ', '🌊', '*', '..', '/', '%2f',
  'k'.repeat(1_024), '国'.repeat(341) + 'k',
];

/** A value as text that tells apart all that JavaScript can tell apart. */
export function told(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  if (value instanceof Uint8Array) return `bytes(${[...value].join(' ')})`;
  if (Array.isArray(value)) return `[${value.map(told).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? String(value);
  const proto: unknown = Object.getPrototypeOf(value);
  const kind = proto === Object.prototype || proto === null ? '' : 'a stranger ';
  // A getter or an inherited field would be no own value.
  const fields = Object.entries(Object.getOwnPropertyDescriptors(value));
  return `${kind}{${fields.map(([key, field]) => `${JSON.stringify(key)}:${told(field.value)}`).join(',')}}`;
}

/** A client of the JSON codec, as small as can be: it follows objects, and puts text. */
class TextClient {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<string, (frame: string) => void>();
  #number = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      // One message a frame is asked for at a time, so the frame that has the answer has its number.
      for (const [start, resolve] of this.#waiting) {
        if (!String(data).includes(start)) continue;
        this.#waiting.delete(start);
        resolve(String(data));
      }
    };
  }

  static async open(url: string, Socket: typeof WebSocket): Promise<TextClient> {
    const socket = new Socket(url, ['tidewire.v1.json']);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error('the JSON codec is not spoken'));
    });
    const client = new TextClient(socket);
    await client.#ask(`[[1,"corpus-${Math.random()}",null]]`, '[64,');
    return client;
  }

  #ask(frame: string, start: string): Promise<string> {
    return new Promise((resolve) => {
      this.#waiting.set(start, resolve);
      this.#socket.send(frame);
    });
  }

  /** The frame that answers a subscription. */
  read(key: string): Promise<string> {
    const id = ++this.#number;
    return this.#ask(`[[2,[[${id},[0,${JSON.stringify(key)}],null]]]]`, `[65,${id},`);
  }

  /** Writes JSON text as it is. */
  async write(key: string, json: string): Promise<void> {
    const id = ++this.#number;
    await this.#ask(`[[4,${id},[0,${JSON.stringify(key)},${json}]]]`, `[69,${id},`);
  }

  close(): void {
    this.#socket.close();
  }
}

/** Runs everything against the server at `url`; returns how many checks were made, and what was wrong. */
export async function runCorpus(
  connect: () => Promise<Client>, url: string, Socket: typeof WebSocket, engine: string,
): Promise<{ checks: number; faults: string[] }> {
  const faults: string[] = [];
  let checks = 0;
  const check = (what: string, found: string, wanted: string): void => {
    checks += 1;
    if (found !== wanted) faults.push(`${engine}: ${what}: ${found.slice(0, 200)} instead of ${wanted.slice(0, 200)}`);
  };
  const names = Object.getOwnPropertyNames(Object.prototype).sort().join();
  const [writer, reader, texts] = [await connect(), await connect(), await TextClient.open(url, Socket)];
  const read = async (key: string): Promise<string> => {
    const replica = reader.synced(key);
    await replica.ready();
    const value = told(replica.get());
    replica.dispose();
    return value;
  };

  for (const [at, { name, value, json, read: wanted = value }] of CASES.entries()) {
    const [binary, text] = [`${engine}:binary:${at}`, `${engine}:text:${at}`];
    await writer.put(binary, value);
    check(`${name}, written and read in MessagePack`, await read(binary), told(wanted));
    const frame = await texts.read(binary);
    check(`${name}, written in MessagePack and read in JSON`, frame.includes(`,null,${json},[]]`) ? json : frame, json);
    await texts.write(text, json);
    check(`${name}, written in JSON and read in MessagePack`, await read(text), told(wanted));
  }
  for (const [name, attempt] of REFUSED) {
    const outcome = await attempt(writer).then(() => 'written', (error: unknown) => (error instanceof TidewireError ? 'refused' : String(error)));
    check(`${name} is refused`, outcome, 'refused');
  }
  const table = writer.datastore<{ id: string; n: number }>(`keys-${engine}`, undefined, { kind: 'permanent' });
  await table.ready();
  for (const [n, key] of KEYS.entries()) {
    await writer.put(key, `${engine} ${n}`);
    check(`the object ${key.slice(0, 20)}`, await read(key), JSON.stringify(`${engine} ${n}`));
    await table.set({ id: key, n });
    check(`the record ${key.slice(0, 20)}`, told(table.get(key)), told({ id: key, n }));
  }
  check('all records', told(table.rows().map((row) => row.n)), told([...KEYS.keys()]));
  check('Object.prototype', Object.getOwnPropertyNames(Object.prototype).sort().join(), names);
  check('nothing is polluted', String(({} as Record<string, unknown>)['polluted']), 'undefined');
  writer.close();
  reader.close();
  texts.close();
  return { checks, faults };
}
