// `connect([url, url])`: which address is taken when, and what becomes of a client whose server dies.

import { effect } from '@preact/signals-core';
import { WebSocket } from 'ws';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { type Client, connect, type WebSocketClass } from 'tidewire';
import { NativeServer, SERVER_BIN } from './native.js';
import { NatsServer } from './nats_server.js';
import { until } from './support.js';

const NODES = ['ws://a.test/v1/sync', 'ws://b.test/v1/sync', 'ws://c.test/v1/sync'];

/** A class of sockets that never open, and those that were made of it. */
function sockets(): { Socket: WebSocketClass; made: { readonly url: string; onclose: ((event: object) => void) | null }[] } {
  const made: { readonly url: string; onclose: ((event: object) => void) | null }[] = [];
  class Socket {
    readyState = 0;
    bufferedAmount = 0;
    onclose: ((event: object) => void) | null = null;
    constructor(readonly url: string) { made.push(this); }
    send(): void {}
    close(): void {}
  }
  return { Socket, made };
}

describe('several addresses', () => {
  afterEach(() => void vi.useRealTimers());

  test('are tried in turn, and again from the first one on after the last', async () => {
    vi.useFakeTimers();
    const { Socket, made } = sockets();
    const client = await connect(NODES, { WebSocket: Socket });
    for (let attempt = 1; attempt <= 7; attempt++) {
      made.at(-1)!.onclose!({ code: 1006, reason: '' });
      // The backoff is that of a client with one address: at most a tenth of a second after the first failure, then twice that.
      const longest = Math.min(100 * 2 ** (attempt - 1), 30_000);
      for (let waited = 0; made.length === attempt && waited < longest; waited += 10) await vi.advanceTimersByTimeAsync(10);
      expect(made).toHaveLength(attempt + 1);
    }
    client.close();
    const order = made.slice(0, 3).map(({ url }) => url);
    expect([...order].sort()).toEqual(NODES);
    expect(made.map(({ url }) => url)).toEqual(made.map((_, attempt) => order[attempt % 3]));
  });

  test('are taken by each client in an order of its own, so that those of a dead server spread', async () => {
    vi.useFakeTimers();
    const orders = new Set<string>();
    // That one of six orders is never drawn in 150 times happens once in 10^11.
    for (let count = 0; count < 150; count++) {
      const { Socket, made } = sockets();
      const client = await connect(NODES, { WebSocket: Socket });
      for (let attempt = 1; attempt < 3; attempt++) {
        made.at(-1)!.onclose!({ code: 1006, reason: '' });
        while (made.length === attempt) await vi.advanceTimersByTimeAsync(50);
      }
      orders.add(made.map(({ url }) => NODES.indexOf(url)).join());
      client.close();
    }
    expect([...orders].sort()).toEqual(['0,1,2', '0,2,1', '1,0,2', '1,2,0', '2,0,1', '2,1,0']);
  });

  test('are each checked at once', async () => {
    const { Socket } = sockets();
    await expect(connect([NODES[0]!, 'ftp://b.test'], { WebSocket: Socket })).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(connect([], { WebSocket: Socket })).rejects.toThrow(/no address in the list/);
  });
});

if (SERVER_BIN !== undefined) {
  describe('two nodes of one service', () => {
    interface Todo { id: string; n: number }

    async function service(run: (nodes: [NativeServer, NativeServer], nats: NatsServer) => Promise<void>): Promise<void> {
      const nats = await NatsServer.startWithStreams();
      const started: NativeServer[] = [];
      try {
        for (const name of ['one', 'other']) started.push(await NativeServer.start({}, ['--nats', nats.url, '--node', name]));
        await run(started as [NativeServer, NativeServer], nats);
      } finally {
        for (const node of started) await node.stop();
        await nats.stop();
      }
    }

    const at = (client: Client): string | null => {
      const status = client.status();
      return status.state === 'live' ? status.address : null;
    };

    test('the one dies: its client goes on at the other, resumed, and each write is done once', async () => {
      await service(async (nodes) => {
        const client = await connect(nodes.map(({ url }) => url), { WebSocket });
        const todos = client.datastore<Todo>('todos', undefined, { kind: 'permanent' });
        const setting = client.synced<number>('setting');
        await client.put('setting', 1);
        await todos.set({ id: 'kept', n: 0 });
        await until(() => at(client) !== null, 'live');
        const [dying, staying] = at(client) === nodes[0].url ? nodes : [nodes[1], nodes[0]];
        const { epoch } = todos.meta();
        const kept = todos.get('kept');
        const elsewhere = await connect(staying.url, { WebSocket });

        // Some are answered, some are under way and some are waiting when the node goes: it takes nothing more before it dies.
        const COUNT = 300;
        let answered = 0;
        const write = (n: number): Promise<void> => todos.set({ id: `${n}`, n }).then(() => void answered++);
        const writes = Array.from({ length: COUNT / 2 }, (_, n) => write(n));
        await until(() => answered > 0, 'the first answer');
        dying.signal('SIGSTOP');
        writes.push(...Array.from({ length: COUNT / 2 }, (_, n) => write(COUNT / 2 + n)));
        const states: string[] = [];
        const stop = effect(() => void states.push(client.status().state));
        await dying.kill();
        expect(answered).toBeLessThan(COUNT);
        // It may be at the other node before a poll sees that it was away.
        await until(() => states.includes('reconnecting'), 'the client notices');
        stop();
        expect(todos.get('kept')).toBe(kept);
        writes.push(todos.set({ id: 'late', n: 1 }).then(() => void answered++));
        await elsewhere.put('setting', 2);

        await Promise.all(writes);
        expect(answered).toBe(COUNT + 1);
        expect(at(client)).toBe(staying.url);
        await until(() => setting.get() === 2, 'what was written meanwhile');
        // One sequence each: none was run twice, here or there.
        expect(todos.meta()).toMatchObject({ epoch, sequence: COUNT + 2, status: 'ok' });
        const same = elsewhere.datastore<Todo>('todos');
        await same.ready();
        await until(() => same.meta().sequence === COUNT + 2, 'all of it in another client');
        expect(same.rows()).toHaveLength(COUNT + 2);
        expect(todos.rows()).toHaveLength(COUNT + 2);
        expect(todos.get('kept')).toBe(kept);

        // And back, when that one dies and the first is there again.
        await dying.start();
        await staying.kill();
        await todos.set({ id: 'back', n: 1 });
        expect(at(client)).toBe(dying.url);
        expect(todos.meta()).toMatchObject({ epoch, sequence: COUNT + 3 });
        client.close();
        elsewhere.close();
      });
    }, 60_000);

    test('one that hangs is left for the other', async () => {
      await service(async (nodes) => {
        const client = await connect(nodes.map(({ url }) => url), { WebSocket });
        const shown = client.synced<number>('n');
        await client.put('n', 1);
        await until(() => at(client) !== null, 'live');
        const [hanging, staying] = at(client) === nodes[0].url ? nodes : [nodes[1], nodes[0]];
        hanging.signal('SIGSTOP');
        // Ten seconds without a word, and fifteen for the answer to a question.
        await client.put('n', 2);
        hanging.signal('SIGCONT');
        expect(at(client)).toBe(staying.url);
        expect(shown.get()).toBe(2);
        expect(shown.meta().sequence).toBe(2);
        client.close();
      });
    }, 60_000);
  });
}
