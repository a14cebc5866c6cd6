// What a server has rendered goes on in the browser: values and positions travel, and are not asked for again.

import { createElement, type ReactElement } from 'react';
import { renderToString } from 'react-dom/server';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { type Client, connect, createClientReplica, type DehydratedState, InProcessTransport } from 'tidewire';
import { TidewireProvider, useSynced } from 'tidewire/react';
import { ReferenceServer } from 'tidewire/server';
import { dehydrate, seedOf, toScript, toText } from 'tidewire/ssr';
import { TestBrowser } from './frameworks/browser.js';
import { bundle } from './frameworks/bundle.js';
import { COUNTRIES, Country, OPTIONS } from './frameworks/country.js';
import { Countries } from './frameworks/Countries.js';
import { Line } from './frameworks/line.js';
import { until } from './support.js';

interface Todo { readonly id: string; readonly title: string }

/** Through a page: text, and back. */
const carried = (state: DehydratedState): DehydratedState => JSON.parse(JSON.stringify(state)) as DehydratedState;

const live = (client: Client): Promise<void> => until(() => client.peekStatus().state === 'live', 'live');

/** A server, and what a client has seen of it by the time that a page is rendered. */
async function rendered(): Promise<{ server: ReferenceServer; state: DehydratedState }> {
  const server = await ReferenceServer.create();
  server.put('user:1', { name: 'Ada' });
  const store = server.datastore<Todo>('todos', { kind: 'permanent' });
  for (const id of ['a', 'b', 'c']) store.set({ id, title: `write ${id}` });
  const client = await connect(server);
  const [user, todos] = [client.synced('user:1'), client.datastore<Todo>('todos')];
  await Promise.all([user.ready(), todos.ready()]);
  const state = carried(dehydrate(user, todos));
  expect(client.dehydrate()).toEqual(state);
  client.close();
  return { server, state };
}

test('a hydrated replica shows its value at once, and where nothing changed nothing is sent again', async () => {
  const { server, state } = await rendered();
  const line = new Line(server);
  const client = await connect(line, { state });
  const [user, todos] = [client.synced<{ name: string }>('user:1'), client.datastore<Todo>('todos')];
  expect(user.get()).toEqual({ name: 'Ada' });
  expect(todos.rows().map(({ title }) => title)).toEqual(['write a', 'write b', 'write c']);
  expect([user.meta().status, todos.meta().status]).toEqual(['ok', 'ok']);
  const before = todos.rows();
  await live(client);
  await client.put('barrier', 1);
  for (const text of ['Ada', 'write']) expect(line.travelled(text).down).toBe(0);
  expect(todos.rows()).toBe(before);
  expect(todos.stats).toMatchObject({ refetches: 0, gaps: 0 });
  client.close();
  server.close();
});

test('what happened between rendering and hydrating comes as a tail', async () => {
  const { server, state } = await rendered();
  const store = server.datastore<Todo>('todos');
  // Of the same name, and something else.
  server.put('todos', 'an object');
  store.set({ id: 'b', title: 'done' });
  store.delete('c');
  server.put('user:1', { name: 'Grace' });
  const line = new Line(server);
  const client = await connect(line);
  await live(client);
  client.hydrate(state);
  const [user, todos] = [client.synced<{ name: string }>('user:1'), client.datastore<Todo>('todos')];
  const a = todos.get('a');
  expect(todos.rows()).toHaveLength(3);
  expect(client.pool('todos').peekFields()).toEqual({});
  expect(client.synced('todos').get()).toBeUndefined();
  await until(() => user.get()?.name === 'Grace' && todos.rows().length === 2, 'the tail');
  expect(todos.rows()).toEqual([{ id: 'a', title: 'write a' }, { id: 'b', title: 'done' }]);
  expect(todos.get('a'), 'what did not change is the same object').toBe(a);
  expect(line.travelled('write').down).toBe(0);
  expect(line.travelled('done').down).toBe(1);
  client.close();
  server.close();
});

test('a state of another history is shown until the server has spoken', async () => {
  const { server, state } = await rendered();
  server.close();
  const other = await ReferenceServer.create();
  other.put('user:1', { name: 'Alan' });
  const client = await connect(other, { state });
  const user = client.synced<{ name: string }>('user:1');
  expect(user.get()).toEqual({ name: 'Ada' });
  await until(() => user.get()?.name === 'Alan', 'the other history');
  client.close();
  other.close();
});

test('a seed is for the replicas of the first moment, not for those that come after them', async () => {
  const { server, state } = await rendered();
  const client = await connect(server, { state });
  const [one, two] = [client.synced('user:1'), client.synced('user:1', z.object({ name: z.string() }))];
  expect([one.get(), two.get()]).toEqual([{ name: 'Ada' }, { name: 'Ada' }]);
  await live(client);
  server.put('user:1', { name: 'Grace' });
  await until(() => two.get()?.name === 'Grace', 'the change');
  one.dispose();
  expect(client.synced('user:1').get(), 'the old value is not shown again').toBeUndefined();
  client.close();
  server.close();
});

test('values keep what JSON has no words for', async () => {
  const value = {
    large: 9_007_199_254_740_993n, small: -9_007_199_254_740_993n, bytes: Uint8Array.of(0, 255, 128), nan: NaN, infinite: -Infinity,
    zero: -0, escape: { $: ['bin', 'AAEC'] }, ['__proto__']: { polluted: true }, text: '</script><!--\u2028\u2029&', nothing: null, list: [1n << 62n, [0.5]],
  };
  const server = await ReferenceServer.create();
  server.put('value', value);
  const one = await connect(server);
  const before = one.synced<typeof value>('value');
  await before.ready();
  const state = carried(before.dehydrate());
  const two = await connect(server, { state });
  const after = two.synced<typeof value>('value').get();
  expect(after).toEqual(before.get());
  expect(after?.bytes).toBeInstanceOf(Uint8Array);
  expect(Object.is(after?.zero, -0)).toBe(true);
  expect(Object.hasOwn(after!, '__proto__')).toBe(true);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  for (const client of [one, two]) client.close();
  server.close();
});

test('a deletion is a position too', async () => {
  const server = await ReferenceServer.create();
  server.put('user:1', { name: 'Ada' });
  const one = await connect(server);
  const before = one.synced('user:1');
  await before.ready();
  server.delete('user:1');
  await until(() => before.get() === undefined, 'the deletion');
  const state = carried(before.dehydrate());
  expect(state.objects['user:1']).toMatchObject({ sequence: 2 });
  const two = await connect(server, { state });
  expect(two.synced('user:1').meta()).toMatchObject({ sequence: 2, status: 'ok' });
  for (const client of [one, two]) client.close();
  server.close();
});

test('a state holds what came, and every schema makes its own of it', async () => {
  const Length = z.object({ name: z.string().transform((text) => text.length) });
  const { server, state } = await rendered();
  const client = await connect(server, { state });
  const [length, refused] = [client.synced('user:1', Length), client.synced('user:1', z.object({ age: z.number() }))];
  expect(length.get()).toEqual({ name: 3 });
  expect(length.dehydrate().objects['user:1']).toMatchObject({ value: { name: 'Ada' } });
  expect(refused.get()).toBeUndefined();
  expect(refused.meta().error).toMatchObject({ code: 'gate_failed' });
  client.close();
  server.close();
});

test('what is no state is refused, and what is bad within one is asked for', async () => {
  const { server, state } = await rendered();
  const client = await connect(server);
  for (const bad of [undefined, null, {}, { tidewire: 2 }]) {
    expect(() => client.hydrate(bad as unknown as DehydratedState)).toThrow(/no dehydrated state/);
  }
  const { rows, ...datastore } = state.datastores['todos']!;
  client.hydrate({
    ...state,
    objects: { 'user:1': { ...state.objects['user:1']!, epoch: 'none' } },
    datastores: { todos: { ...datastore, rows: [[99, 'a', { id: 'a', title: 'from the future' }], ...rows.slice(1)] } },
  });
  const [user, todos] = [client.synced('user:1'), client.datastore<Todo>('todos')];
  expect([user.get(), todos.rows()]).toEqual([undefined, []]);
  await Promise.all([user.ready(), todos.ready()]);
  expect(todos.get('a')).toEqual({ id: 'a', title: 'write a' });
  client.close();
  server.close();
});

test('a replica over an own transport goes on from the envelope that a state has of it', () => {
  const transport = new InProcessTransport();
  const one = createClientReplica<{ n: number }>({ key: 'k', transport });
  transport.publish('k', { value: { n: 1 }, sequence: 5, schema_version: '1.2', epoch: 'e' });
  const state = carried(one.dehydrate());
  const two = createClientReplica<{ n: number }>({ key: 'k', transport, seed: seedOf(state, 'k') });
  expect([two.get(), two.meta()]).toEqual([{ n: 1 }, one.meta()]);
  transport.publish('k', { value: { n: 2 }, sequence: 6, schema_version: '1.2', epoch: 'e' });
  expect(two.get()).toEqual({ n: 2 });
  expect(seedOf(state, 'toString')).toBeUndefined();
  for (const replica of [one, two]) replica.dispose();
  expect(two.dehydrate().objects).toEqual({});
});

test('nothing of a state ends the script that carries it', () => {
  const value = '</script><script>alert(1)</script><!-- <script> ]]> & \u2028 \u2029';
  const state: DehydratedState = { tidewire: 1, objects: { [value]: { value, sequence: 1, epoch: null, schema_version: null } }, datastores: {} };
  const text = toText(state);
  expect(text).not.toMatch(/[<>&\u2028\u2029]/);
  expect(JSON.parse(text)).toEqual(state);
  expect(toScript(state, '"><b>')).toContain('id="&#34;&#62;&#60;b&#62;"');
});

test('two requests at once see nothing of each other', async () => {
  const Me = z.object({ name: z.string() });
  const Name = (): ReactElement => createElement('p', null, useSynced('me', Me, { select: 'name' }) ?? '…', useSynced('me', Me)?.name.length);
  const request = async (name: string): Promise<string> => {
    // Each has a server of its own, as each has a user of its own: the same key is another value.
    const own = await ReferenceServer.create();
    own.put('me', { name });
    const client = await connect(own);
    const me = client.synced('me');
    await me.ready();
    const state = client.dehydrate();
    client.close();
    // Rendered in pieces, so that the requests interleave.
    const html: string[] = [];
    for (let i = 0; i < 3; i++) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 5));
      html.push(renderToString(createElement(TidewireProvider, { state }, createElement(Name))));
    }
    own.close();
    return html.join('');
  };
  expect(await Promise.all(['Ada', 'Grace'].map(request))).toEqual(['<p>Ada<!-- -->3</p>'.repeat(3), '<p>Grace<!-- -->5</p>'.repeat(3)]);
  expect(renderToString(createElement(TidewireProvider, {}, createElement(Name)))).toBe('<p>…</p>');
});

let browser: TestBrowser;
beforeAll(async () => { browser = await TestBrowser.start(); });
afterAll(() => browser.stop());

/** The state that the pages' own servers have, too: the same seed gives the same history. */
async function countries(): Promise<DehydratedState> {
  const server = await ReferenceServer.create({ seed: 7 });
  const store = server.datastore<Country>('countries', OPTIONS);
  for (const country of COUNTRIES) store.set(country);
  const client = await connect(server);
  await client.datastore('countries', Country).ready();
  const state = client.dehydrate();
  client.close();
  server.close();
  return state;
}

/** Renders the list in Node. */
const RENDERERS: Record<string, { readonly entry: string; render(state: DehydratedState): Promise<{ body: string; head?: string }> }> = {
  react: {
    entry: 'react.tsx',
    render: async (state) => ({ body: renderToString(createElement(TidewireProvider, { state }, createElement(Countries))) }),
  },
  vue: { entry: 'vue.ts', render: async (state) => onServer('vue_server.ts', state) },
  solid: { entry: 'solid.tsx', render: async (state) => onServer('solid_server.tsx', state) },
  svelte: { entry: 'svelte.ts', render: async (state) => onServer('svelte_server.ts', state) },
};

/** What a bundle for servers renders. */
async function onServer(entry: string, state: DehydratedState): Promise<{ body: string; head?: string }> {
  const script = await bundle(entry, 'server', {
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire('/');" },
  });
  const { render } = await import(/* @vite-ignore */ `data:text/javascript;base64,${Buffer.from(script).toString('base64')}`) as {
    render(state: DehydratedState): Promise<{ body: string; head?: string }>;
  };
  return render(state);
}

test.each(Object.keys(RENDERERS))('%s renders in Node, and Chromium takes it over without a warning', async (name) => {
  const { entry, render } = RENDERERS[name]!;
  const state = await countries();
  const { body, head = '' } = await render(state);
  for (const country of COUNTRIES) expect(body).toContain(country.name);
  const { page, complaints } = await browser.open(`${name}-hydrated`, await bundle(entry), { rendered: body, head: head + toScript(state) });
  await page.waitForFunction(() => document.getElementById('status')?.textContent === 'live');
  expect(await page.$$('li')).toHaveLength(5);
  expect(await page.evaluate(() => window.page!.travelled('Germany').down), 'the rows were not sent again').toBe(0);
  await page.locator('[data-key=ITA] .edit').click();
  await page.waitForFunction(() => document.querySelector('[data-key=ITA] span')?.textContent === 'Italy: Rome!');
  expect(complaints).toEqual([]);
  await page.close();
}, 60_000);
