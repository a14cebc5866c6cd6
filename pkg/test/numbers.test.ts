// What crosses between page and core are numbers, and each side has a list of their names: the two are one list.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { STATS } from '../src/core.js';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const facade = read('pkg/src/core.ts');
const client = read('src/wasm/client.rs');

/** The members of an enum of the facade, by number. */
function members(name: string): Map<number, string> {
  const body = new RegExp(`export const enum ${name} \\{([^}]*)\\}`).exec(facade.replace(/\/\*\*[^]*?\*\/|\/\/.*/g, ''))?.[1];
  if (body === undefined) throw new Error(`core.ts has no enum ${name}`);
  let next = 0;
  return new Map([...body.matchAll(/(\w+)(?: = (-?\d+))?/g)].map(([, member, number]) => {
    const own = number === undefined ? next : Number(number);
    next = own + 1;
    return [own, member!];
  }));
}

/** The number and the name that each match of `pattern` in `source` has. */
function numbered(source: string, pattern: RegExp): Map<number, string> {
  return new Map([...source.matchAll(pattern)].map(({ groups }) => [Number(groups!['number']), groups!['name']!]));
}

/** The text of the Rust function `name`. */
function body(source: string, name: string): string {
  const found = new RegExp(`\\n( *)(?:pub(?:\\(\\w+\\))? )?fn ${name}\\([^]*?\\n\\1\\}`).exec(source)?.[0];
  if (found === undefined) throw new Error(`there is no function ${name}`);
  return found;
}

const snake = (name: string): string => name.replace(/\B[A-Z]/g, '_$&').toLowerCase();
const camel = (name: string): string => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

test('what the core is asked has the number under which the core answers it', () => {
  const asked = members('Ask');
  const answered = numbered(body(client, 'ask'), /(?<number>\d+) => [^,\n]*?self\.(?:host\.)?(?:client\.)?(?<name>\w+)/g);
  const last = /_ => self\.(\w+)/.exec(body(client, 'ask'))![1]!;
  expect([...asked.keys()]).toEqual([...answered.keys(), answered.size]);
  // Said from the side that says it.
  const other: Record<string, string> = { fired: 'timeout', use_gate: 'adopt' };
  expect([...asked.values()].map(snake)).toEqual([...answered.values(), last].map((name) => other[name] ?? name));
});

test('a change has one number and one name', () => {
  const told = numbered(
    body(client, 'words') + body(read('src/wasm/host.rs'), 'tell_outputs'),
    /(?:Change|Output)::(?<name>\w+)(?: \{[^}]*\}|\([^)]*\))? => (?:\{[^[]*)?\[(?<number>\d+)/g,
  );
  // Three events of a replica are one change.
  told.set(12, 'Event');
  expect(members('Change')).toEqual(new Map([...told].sort(([one], [other]) => one - other)));
});

test('the facts of a replica come in the order in which they are read', () => {
  const facts = [...body(client, 'meta').matchAll(/client\.(?!stats|status)(\w+)\(slot\)|^ +(status),$/gm)].map(([, fact, status]) => fact ?? status!);
  expect([...members('MetaFact').values()].map(snake)).toEqual([...facts, 'stats']);
  expect(STATS).toEqual([...body(client, 'meta').matchAll(/count\(stats\.(\w+)\)/g)].map(([, name]) => camel(name!)));
});

test('a text has one number', () => {
  const kinds = [...body(client, 'text').matchAll(/(?:\d+|_) => .*?\.(\w+)(?:\(|\.clone)/g)].map(([, name]) => name === 'reason' ? 'link_reason' : name!);
  expect([...members('Text').values()].map(snake)).toEqual(kinds);
});

test('an operation has the number of the wire', () => {
  expect(members('Write')).toEqual(numbered(read('src/protocol/message/operation.rs'), /^ +(?<number>\d) => Operation::(?<name>\w+)/gm));
});

test('a message has the number of the wire', () => {
  const wire = numbered(read('src/protocol/message/mod.rs'), /const (?<name>\w+): u64 = (?<number>\d+);/g);
  for (const [number, name] of members('Message')) expect([number, wire.get(number)]).toEqual([number, name.toUpperCase()]);
});
