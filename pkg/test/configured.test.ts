// `synced` over what was configured, `httpRefetch`, and the order of a collection's records.

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocket } from 'ws';
import { afterEach, describe, expect, test } from 'vitest';
import { configureSynced, connect, createClientReplica, httpRefetch, InProcessTransport, synced } from 'tidewire';
import { ReferenceServer } from 'tidewire/server';
import { NativeServer, SERVER_BIN } from './native.js';
import { until } from './support.js';

afterEach(() => configureSynced(undefined));

describe('synced', () => {
  test('says what to do before anything is configured', () => {
    expect(() => synced('user:1')).toThrow(/configureSynced/);
  });

  test('over a client it is an object of its session', async () => {
    const server = await ReferenceServer.create();
    const client = await connect(server);
    configureSynced({ client });
    const replica = synced<{ name: string }>('user:1');
    server.put('user:1', { name: 'Ada' });
    await replica.ready();
    expect(replica.get()).toEqual({ name: 'Ada' });
    client.close();
    server.close();
  });

  test('over a transport it has the seed and the refetch of its key, and its own where they are given', async () => {
    const transport = new InProcessTransport();
    const asked: string[] = [];
    configureSynced({
      transport,
      seed: (key) => ({ value: `seed of ${key}`, sequence: 1 }),
      refetch: (key) => async () => {
        asked.push(key);
        return { value: 'fetched', sequence: 5 };
      },
    });
    const schema = { parse: (value: unknown) => ({ tag: 'Ok' as const, value: value as string }) };
    const [one, two] = [synced('a', schema), synced('b', schema, { seed: { value: 'own', sequence: 3 } })];
    expect([one.get(), two.get()]).toEqual(['seed of a', 'own']);
    transport.publish('a', { value: 'late', sequence: 5 });
    await one.whenIdle();
    expect(one.get()).toBe('fetched');
    expect(asked).toEqual(['a']);
    one.dispose();
    two.dispose();
  });
});

describe('httpRefetch', () => {
  let server: Server | undefined;
  afterEach(() => void server?.close());

  const answering = async (answer: (headers: Record<string, unknown>) => { status: number; etag?: string; body?: string }): Promise<string> => {
    server = createServer((request, response) => {
      const { status, etag, body } = answer(request.headers);
      response.writeHead(status, { 'content-type': 'application/json', ...(etag ? { etag } : {}) }).end(body);
    });
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server!.address() as AddressInfo).port}/objects/a`;
  };
  const context = { signal: new AbortController().signal, position: null };

  test('answers with the snapshot, undoes the escapes of JSON, and asks only for what changed', async () => {
    const seen: unknown[] = [];
    const body = '{"value":{"b":{"$":["bin","AAEC"]},"f":{"$":["float","NaN"]},"m":{"$":["map",{"$":["bin","AA=="]}]},"n":[1]},"schema_version":"1.0","epoch":"00112233445566778899aabbccddeeff","sequence":7,"lineage":[]}';
    const url = await answering((headers) => {
      seen.push([headers['if-none-match'], headers['authorization']]);
      return headers['if-none-match'] === '"7"' ? { status: 304 } : { status: 200, etag: '"7"', body };
    });
    const refetch = httpRefetch(url, { headers: async () => ({ authorization: 'Bearer t' }) });
    const first = await refetch(context);
    expect(first).toEqual({
      value: { b: Uint8Array.of(0, 1, 2), f: NaN, m: { $: ['bin', 'AA=='] }, n: [1] },
      schema_version: '1.0', epoch: '00112233445566778899aabbccddeeff', sequence: 7,
    });
    expect(await refetch(context)).toBe(first);
    expect(seen).toEqual([[undefined, 'Bearer t'], ['"7"', 'Bearer t']]);
  });

  test('404 is no value; another failure is one, which may be tried again or not', async () => {
    let status = 404;
    const url = await answering(() => ({ status }));
    const refetch = httpRefetch(url);
    expect(await refetch(context)).toBeNull();
    status = 503;
    await expect(refetch(context)).rejects.toMatchObject({ code: 'unavailable', retryable: true });
    status = 403;
    await expect(refetch(context)).rejects.toMatchObject({ code: 'unavailable', retryable: false });
  });

  if (SERVER_BIN !== undefined) {
    test('mends a replica from the native server', async () => {
      const native = await NativeServer.start();
      const client = await connect(native.url, { WebSocket });
      await client.put('user:1', { name: 'Ada', bytes: Uint8Array.of(1, 2) });
      const replica = createClientReplica({
        key: 'user:1', transport: new InProcessTransport(),
        refetch: httpRefetch(`http://${native.address}/v1/objects/user%3A1`),
      });
      await replica.refresh();
      expect(replica.get()).toEqual({ name: 'Ada', bytes: Uint8Array.of(1, 2) });
      expect(replica.meta()).toMatchObject({ sequence: 1, status: 'ok' });
      replica.dispose();
      client.close();
      await native.stop();
    });
  }
});

describe('the order of a collection', () => {
  test('is that of the last change, or the one that is given', async () => {
    const server = await ReferenceServer.create();
    const client = await connect(server);
    interface Todo { id: string; rank: number }
    const plain = client.datastore<Todo>('todos', undefined, { kind: 'temp' });
    const ranked = client.datastore<Todo>('todos', undefined, { order: (one, other) => one.rank - other.rank });
    const heard: string[] = [];
    ranked.subscribe((rows) => heard.push(rows.map(({ id }) => id).join('')));
    for (const [id, rank] of [['a', 3], ['b', 1], ['c', 2]] as const) await plain.set({ id, rank });
    await plain.set({ id: 'b', rank: 9 });
    await until(() => ranked.get('b')?.rank === 9, 'the last change');
    expect(plain.rows().map(({ id }) => id)).toEqual(['a', 'c', 'b']);
    expect(ranked.rows().map(({ id }) => id)).toEqual(['c', 'a', 'b']);
    expect(ranked.rows()).toBe(ranked.rows());
    expect(heard).toEqual(['', 'a', 'ba', 'bca', 'cab']);
    client.close();
    server.close();
  });

  test('of a comparison that throws there is none, and an error event', async () => {
    const server = await ReferenceServer.create();
    const client = await connect(server);
    const todos = client.datastore<{ id: string }>('todos', undefined, { kind: 'temp', order: () => { throw new Error('bad'); } });
    const errors: string[] = [];
    todos.on('error', ({ message }) => errors.push(message));
    todos.subscribe(() => {});
    await todos.set({ id: 'a' });
    await todos.set({ id: 'b' });
    expect(todos.rows().map(({ id }) => id)).toEqual(['a', 'b']);
    await todos.set({ id: 'c' });
    expect(errors[0]).toMatch(/bad/);
    client.close();
    server.close();
  });
});
