// The server in the page: the same suite as over the wire, and what only it has.

import { expect, test } from 'vitest';
import { type Client, connect, TidewireError } from 'tidewire';
import { ReferenceServer } from 'tidewire/server';
import { describeSession } from './session.js';
import { turn, until } from './support.js';

describeSession('a link to the server in the page', async () => {
  const server = await ReferenceServer.create({ seed: 1 });
  return { connect: () => connect(server), stop: async () => server.close() };
});

async function live(server: ReferenceServer): Promise<Client> {
  const client = await connect(server);
  await until(() => client.peekStatus().state === 'live', 'live');
  return client;
}

test('what the authority writes reaches the clients, and what clients write reaches each other', async () => {
  const server = await ReferenceServer.create();
  const store = server.datastore<{ id: string; title: string }>('todos', { kind: 'permanent' });
  expect(store.set({ id: '1', title: 'before' })).toBe(1);
  const client = await live(server);
  const todos = client.datastore<{ id: string; title: string }>('todos');
  await todos.ready();
  expect(todos.rows()).toEqual([{ id: '1', title: 'before' }]);
  expect(store.set({ id: '1', title: 'after' })).toBe(2);
  await until(() => todos.get('1')?.title === 'after', 'the change');
  expect(store.delete('1')).toBe(3);
  expect(store.delete('1')).toBeNull();
  await until(() => todos.rows().length === 0, 'the deletion');

  const user = client.synced<{ name: string }>('user:1');
  expect(server.put('user:1', { name: 'Ada' })).toBe(1);
  await user.ready();
  expect(user.get()).toEqual({ name: 'Ada' });
  expect(server.delete('user:1')).toBe(2);
  await until(() => user.get() === undefined, 'the deletion of the object');
  client.close();
  server.close();
});

test('frames come in microtasks, never into a call that is under way', async () => {
  const server = await ReferenceServer.create();
  const client = await live(server);
  const user = client.synced('user:1');
  await turn();
  server.put('user:1', 1);
  expect(user.peek()).toBeUndefined();
  await Promise.resolve();
  await turn();
  expect(user.peek()).toBe(1);
  client.close();
  server.close();
});

test('the same seed gives the same epoch', async () => {
  const epochs = await Promise.all([7, 7, 8].map(async (seed) => {
    const server = await ReferenceServer.create({ seed });
    server.put('a', 1);
    const client = await live(server);
    const a = client.synced('a');
    await a.ready();
    const { epoch } = a.meta();
    client.close();
    server.close();
    return epoch;
  }));
  expect(epochs[0]).toBe(epochs[1]);
  expect(epochs[0]).not.toBe(epochs[2]);
});

test('a datastore without an id gets a fresh public one', async () => {
  const server = await ReferenceServer.create();
  const ids = [server.datastore().id, server.datastore().id];
  expect(ids[0]).toMatch(/^[0-9a-f]{24}$/);
  expect(ids[0]).not.toBe(ids[1]);
  server.close();
});

test('what the authority gets wrong is told with the code that a client would see', async () => {
  const server = await ReferenceServer.create();
  const store = server.datastore('todos');
  const caught = (run: () => unknown): unknown => {
    try {
      return run();
    } catch (error) {
      return error;
    }
  };
  const error = caught(() => store.set({ title: 'no id' }));
  expect(error).toBeInstanceOf(TidewireError);
  expect(error).toMatchObject({ code: 'invalid_request', retryable: false });
  expect(caught(() => store.set({ id: 'x', f: () => 1 }))).toMatchObject({ code: 'unencodable' });
  server.close();
  expect(caught(() => server.put('a', 1))).toMatchObject({ code: 'closed' });
  expect(caught(() => server.link())).toMatchObject({ code: 'closed' });
});

test('bytes that are no protocol end that link with a code and a reason, and no other', async () => {
  const server = await ReferenceServer.create();
  const client = await live(server);
  const link = server.link();
  const ended = new Promise<{ code: number; reason: string }>((resolve) => { link.onclose = resolve; });
  link.send(Uint8Array.of(0xc1, 0xff));
  expect(await ended).toMatchObject({ code: 4500, reason: expect.stringMatching(/./) });
  await client.put('a', 1);
  client.close();
  server.close();
});

test('when the server closes, its clients notice, and go on trying', async () => {
  const server = await ReferenceServer.create();
  const client = await live(server);
  server.close();
  await until(() => client.status().state === 'reconnecting', 'the client notices');
  client.close();
});
