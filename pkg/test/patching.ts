// The property that structural sharing stands on, for any environment: what a replica shows after a change is what a
// plain decoder makes of the new value, every part that did not change is the same object as before, and the object that
// was shown before is untouched. `patching.test.ts` runs it in Node, `scripts/patching.mjs` in browsers.

import { type Client, type Replica } from 'tidewire';
import { Feed, type Update } from './feed.js';
import { randomFrom } from './support.js';

type Random = () => number;

/** Values that are compared in one frame, each of another key. */
const KEYS = 50;

const LETTERS = ['a', 'b', 'Z', '\u0000', 'é', 'я', '国', '🌊', '\uffff', '\u2028'];
const NAMES = ['id', 'name', 'tags', 'author', 'n', '__proto__', 'constructor', 'toString', '0', '10', 'имя', ''];

/** Any value that travels. */
function anyValue(random: Random, depth: number): unknown {
  const below = (limit: number): number => Math.floor(random() * limit);
  const text = (): string => {
    const letters = random() < 0.3 ? LETTERS.length : 4;
    return Array.from({ length: random() < 0.05 ? 200 : below(20) }, () => LETTERS[below(letters)]).join('');
  };
  const size = random() < 0.03 ? 40 : below(6);
  switch (below(depth > 4 ? 8 : 12)) {
    case 0: return null;
    case 1: return random() < 0.5;
    case 2: return below(2 ** 53) * (random() < 0.5 ? 1 : -1);
    case 3: return (random() - 0.5) * 10 ** below(40);
    case 4: return below(200) - 100;
    case 5: return (random() < 0.5 ? 1n : -1n) * (2n ** 53n + BigInt(below(2 ** 40)) * 100n);
    case 6: return Uint8Array.from({ length: below(10) }, () => below(256));
    case 7: return text();
    case 8: case 9: return Array.from({ length: size }, () => anyValue(random, depth + 1));
    default: {
      const object: Record<string, unknown> = {};
      for (let i = 0; i < size; i++) {
        setOwn(object, random() < 0.1 ? text() : NAMES[below(NAMES.length)]!, anyValue(random, depth + 1));
      }
      return object;
    }
  }
}

/** A value that has much in common with `old`. */
function changed(random: Random, old: unknown, depth: number): unknown {
  const below = (limit: number): number => Math.floor(random() * limit);
  if (random() < 0.1 || typeof old !== 'object' || old === null || old instanceof Uint8Array) {
    return anyValue(random, depth);
  }
  if (Array.isArray(old)) {
    const items = [...old];
    const at = below(items.length + 1);
    const kind = below(6);
    if (kind === 0) items.splice(at, below(3));
    else if (kind === 1) items.splice(at, 0, anyValue(random, depth + 1));
    else if (at < items.length) items[at] = changed(random, items[at], depth + 1);
    return items;
  }
  const entries = Object.entries(old);
  const at = below(entries.length + 1);
  switch (below(8)) {
    case 0: entries.splice(at, 1); break;
    case 1: entries.splice(at, 0, [NAMES[below(NAMES.length)]!, anyValue(random, depth + 1)]); break;
    case 2: entries.reverse(); break;
    default: if (at < entries.length) entries[at] = [entries[at]![0], changed(random, entries[at]![1], depth + 1)];
  }
  const object: Record<string, unknown> = {};
  for (const [name, value] of entries) setOwn(object, name, value);
  return object;
}

function setOwn(object: object, key: string, value: unknown): void {
  Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

export function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  const keys = Object.keys(a);
  const others = Object.keys(b);
  // The order counts too: it is what people see.
  return keys.length === others.length && keys.every((key, i) => key === others[i] && same(own(a, key), own(b, key)));
}

function own(object: object, key: string): unknown {
  return Object.getOwnPropertyDescriptor(object, key)?.value;
}

/** Says what of `after`, which was made of `before`, is not the same object though it did not change. */
export function unshared(before: unknown, after: unknown, path = 'value'): string | undefined {
  if (before === after || typeof before !== 'object' || typeof after !== 'object' || !before || !after) return undefined;
  if (same(before, after)) return `${path} was made anew`;
  if (before instanceof Uint8Array || Array.isArray(before) !== Array.isArray(after)) return undefined;
  if (Array.isArray(before) && Array.isArray(after) && before.length !== after.length) {
    const least = Math.min(before.length, after.length);
    let first = 0;
    while (first < least && same(before[first], after[first])) first++;
    for (let i = 0; i < first; i++) if (!Object.is(before[i], after[i])) return `${path}[${i}] was made anew`;
    for (let i = 1; i <= least - first; i++) {
      const [a, b] = [before.at(-i), after.at(-i)];
      if (!same(a, b)) break;
      if (!Object.is(a, b)) return `${path}[-${i}] was made anew`;
    }
    return undefined;
  }
  for (const key of Object.keys(after)) {
    if (!Object.hasOwn(before, key)) continue;
    const found = unshared(own(before, key), own(after, key), `${path}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Plays `pairs` random pairs of values. Returns the first one for which the property does not hold, in words. */
export async function findUnpatched(
  open: (feed: Feed) => Promise<Client>, pairs: number, seed: number,
): Promise<string | undefined> {
  const random = randomFrom(seed);
  const values = new Map<string, unknown>();
  for (let i = 0; i < KEYS; i++) values.set(`k${i}`, anyValue(random, 0));
  const feed = new Feed((key) => (key === 'all' ? Object.fromEntries(values) : values.get(key)));
  const client = await open(feed);
  const keys = [...values.keys()];
  const replicas = keys.map((key): Replica<unknown> => client.synced(key));
  // The same values are records too.
  const records = client.datastore<unknown>('all');
  await Promise.all([...replicas, records].map((shown) => shown.ready()));
  const shown: [string, () => unknown][] = [
    ...keys.map((key, i): [string, () => unknown] => [key, () => replicas[i]!.get()]),
    ...keys.map((key): [string, () => unknown] => [key, () => records.get(key)]),
  ];
  for (let round = 0, sequence = 2, record = KEYS; round * KEYS < pairs; round++) {
    const before = shown.map(([, look]) => look());
    const copies = before.map((value) => structuredClone(value));
    // Now and then two updates between two reads.
    for (let times = random() < 0.2 ? 2 : 1; times > 0; times--, sequence++) {
      const next = keys.map((key): Update => {
        const value = round % 10 === 9 ? anyValue(random, 0) : changed(random, values.get(key), 0);
        values.set(key, value);
        return [key, sequence, value];
      });
      feed.deliver(...next);
      feed.deliverRows('all', ...next.map(([key, , value]): Update => [key, ++record, value]));
    }
    for (const [i, [key, look]] of shown.entries()) {
      const where = `seed ${seed}, round ${round}, ${key} as ${i < KEYS ? 'an object' : 'a record'}`;
      const after = look();
      const expected = values.get(key);
      if (!same(after, expected)) return `${where}: not the value that was sent`;
      if (!same(before[i], copies[i])) return `${where}: the value shown before was touched`;
      const found = unshared(before[i], after);
      if (found !== undefined) return `${where}: ${found}`;
    }
  }
  client.close();
  return undefined;
}
