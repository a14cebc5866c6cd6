// The contract beneath the adapters, and the signals over it.

import { Signal } from 'signal-polyfill';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Client, connect } from 'tidewire';
import { ReferenceServer } from 'tidewire/server';
import { createCell, metaSignal, signalOf, statusSignal } from 'tidewire/signals';
import { metaStore, scopeOf, selectStore, statusStore, valueStore } from 'tidewire/store';
import { until } from './support.js';

interface Todo { readonly id: string; readonly tags: readonly string[]; readonly done?: boolean }

let server: ReferenceServer;
let client: Client;
beforeEach(async () => {
  server = await ReferenceServer.create();
  server.datastore<Todo>('todos', { kind: 'permanent' }).set({ id: 'a', tags: ['home'] });
  server.put('user:1', { name: 'Ada' });
  client = await connect(server);
});
afterEach(() => {
  client.close();
  server.close();
});

test('a store tells of a change after it can be seen, and never at once', async () => {
  const user = client.synced<{ name: string }>('user:1');
  const store = valueStore(user);
  const seen: unknown[] = [];
  const end = store.subscribe(() => seen.push(store.getSnapshot()));
  expect(seen).toEqual([]);
  await user.ready();
  await client.put('user:1', { name: 'Grace' });
  expect(seen).toEqual([{ name: 'Ada' }, { name: 'Grace' }]);
  expect(store.getSnapshot()).toBe(user.peek());
  end();
  await client.put('user:1', { name: 'Alan' });
  expect(seen).toHaveLength(2);
});

test('what is asked for twice is one store, and shows one object', async () => {
  const todos = client.datastore<Todo>('todos');
  await todos.ready();
  expect(valueStore(todos)).toBe(valueStore(todos));
  expect(metaStore(todos)).toBe(metaStore(todos));
  expect(statusStore(client)).toBe(statusStore(client));
  expect(valueStore(todos).getSnapshot()).toBe(valueStore(todos).getSnapshot());
  expect(metaStore(todos).getSnapshot()).toBe(metaStore(todos).getSnapshot());
  const before = metaStore(todos).getSnapshot();
  await todos.refresh();
  expect(metaStore(todos).getSnapshot(), 'a meta that says the same is the same').toBe(before);
});

test('a part is the same object with and without a subscriber, until it changes', async () => {
  const todos = client.datastore<Todo>('todos');
  await todos.ready();
  const store = selectStore(todos, ['a', 'tags']);
  const before = store.getSnapshot();
  expect(before).toEqual(['home']);
  let changes = 0;
  const end = store.subscribe(() => { changes++; });
  await todos.set({ id: 'a', tags: ['home'], done: true });
  expect([store.getSnapshot() === before, changes]).toEqual([true, 0]);
  await todos.set({ id: 'a', tags: ['home', 'urgent'] });
  expect([store.getSnapshot(), changes]).toEqual([['home', 'urgent'], 1]);
  end();
  expect(store.getSnapshot()).toBe(store.getSnapshot());
  todos.dispose();
});

test('the status is told to whoever subscribes, and to nobody after that', async () => {
  const store = statusStore(client);
  await until(() => store.getSnapshot().state === 'live', 'live');
  const told: Record<string, string[]> = { stays: [], leaves: [] };
  const end = store.subscribe(() => told['leaves']!.push(store.getSnapshot().state));
  store.subscribe(() => told['stays']!.push(store.getSnapshot().state));
  end();
  client.close();
  expect(told).toEqual({ stays: ['closed'], leaves: [] });
});

test('a client has one scope, also while it is only promised; without one, nothing is shared', async () => {
  const promise = Promise.resolve(client);
  const scope = scopeOf({ client: promise });
  expect(scopeOf({ client: promise })).toBe(scope);
  await scope.arrived();
  expect(scopeOf({ client })).toBe(scope);
  expect(scopeOf({})).not.toBe(scopeOf({}));
  await expect(scopeOf({}).arrived()).rejects.toMatchObject({ code: 'closed' });
});

test('components that show the same share one replica, and other schemas or orders have their own', async () => {
  const scope = scopeOf({ client });
  const schema = { type: 'object' } as const;
  const order = (): number => 0;
  const stores = [
    scope.collection<Todo>('todos'), scope.collection<Todo>('todos'), scope.collection('todos', schema), scope.collection<Todo>('todos', undefined, { order }),
  ];
  const ends = stores.map((store) => store.subscribe(() => {}));
  for (const store of stores) await until(() => store.getSnapshot().isReady, 'rows');
  const [one, same, gated, ordered] = stores.map((store) => store.replica);
  expect(same).toBe(one);
  expect(new Set([one, gated, ordered]).size).toBe(3);
  expect(stores[0]!.getSnapshot().rows).toBe(stores[1]!.getSnapshot().rows);
  for (const end of ends) end();
});

test('signals follow replicas, whether somebody watches or not', async () => {
  const user = client.synced<{ name: string }>('user:1');
  const signal = signalOf(user);
  expect(signalOf(user)).toBe(signal);
  const upper = new Signal.Computed(() => `${signal.get()?.name ?? '…'} ${metaSignal(user).get().sequence} ${statusSignal(client).get().state}`);
  expect(upper.get()).toMatch(/^… -1 /);
  await user.ready();
  await client.put('user:1', { name: 'Grace' });
  expect(upper.get()).toBe('Grace 2 live');
  client.close();
  expect(upper.get()).toBe('Grace 2 closed');
});

test('cells that are signals are tracked reads, and tell watchers once per frame', async () => {
  const todos = client.datastore<Todo>('todos', undefined, { createCell });
  await todos.ready();
  const titles = new Signal.Computed(() => `${todos.rows().map(({ id }) => id).join()} ${todos.get('a')?.tags.join()} ${todos.meta().sequence}`);
  let due = 0;
  const watcher = new Signal.subtle.Watcher(() => { due++; });
  watcher.watch(titles);
  expect(titles.get()).toBe('a home 1');
  await todos.set({ id: 'b', tags: [] });
  expect([titles.get(), due]).toEqual(['a,b home 2', 1]);
  watcher.watch();
  await todos.set({ id: 'a', tags: ['urgent'] });
  expect([titles.get(), due]).toEqual(['b,a urgent 3', 2]);
  watcher.unwatch(titles);
});
