// What the development build adds: values are frozen, because versions share their unchanged parts.

import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as production from 'tidewire';
import { ReferenceServer } from 'tidewire/server';
import { until } from './support.js';

interface Doc { id: string; title: string; author: { name: string }; tags: string[]; picture: Uint8Array }

const FIRST: Doc = { id: '1', title: 'first', author: { name: 'Ada' }, tags: ['a', 'b'], picture: Uint8Array.of(1, 2) };

const { fetch } = globalThis;

/** The bundle for browsers fetches its WebAssembly from beside it. */
beforeAll(() => {
  globalThis.fetch = async (url) => new Response(await readFile(fileURLToPath(String(url))), { headers: { 'content-type': 'application/wasm' } });
});

afterAll(() => { globalThis.fetch = fetch; });

async function development(): Promise<typeof production> {
  const file = new URL('../dist/browser.development.js', import.meta.url).href;
  return import(/* @vite-ignore */ file);
}

/** Every object and array in a value; binary data cannot be frozen. */
function parts(value: unknown): object[] {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return [];
  return [value, ...Object.values(value).flatMap(parts)];
}

async function shown({ connect }: typeof production, look: (value: () => Doc | undefined, change: (value: Doc) => Promise<void>) => Promise<void>): Promise<void> {
  const server = await ReferenceServer.create();
  server.put('doc', FIRST);
  const client = await connect(server);
  const doc = client.synced<Doc>('doc');
  await doc.ready();
  await look(() => doc.get(), async (value) => {
    server.put('doc', value);
    await until(() => doc.peek()?.title === value.title, 'the change');
  });
  client.close();
  server.close();
}

test('in a development build every part of a value is frozen, also of one that was patched', async () => {
  await shown(await development(), async (get, change) => {
    const first = get()!;
    expect(first).toEqual(FIRST);
    expect(parts(first).length).toBe(3);
    expect(parts(first).every(Object.isFrozen)).toBe(true);
    await change({ ...FIRST, title: 'second', tags: ['a', 'b', 'c'] });
    const second = get()!;
    expect(second.author).toBe(first.author);
    expect(second.tags).toEqual(['a', 'b', 'c']);
    expect(parts(second).every(Object.isFrozen)).toBe(true);
    expect(() => { second.author.name = 'Bob'; }).toThrow(TypeError);
  });
});

test('in a development build rows and their list are frozen where they are made', async () => {
  const { connect } = await development();
  const server = await ReferenceServer.create();
  server.datastore<Doc>('docs', { kind: 'permanent' }).set(FIRST);
  const client = await connect(server);
  const docs = client.datastore<Doc>('docs');
  await docs.ready();
  expect(docs.rows()).toEqual([FIRST]);
  expect(docs.rows().flatMap(parts).every(Object.isFrozen)).toBe(true);
  client.close();
  server.close();
});

test('in a production build nothing is frozen', async () => {
  await shown(production, async (get) => expect(parts(get()).some(Object.isFrozen)).toBe(false));
});
