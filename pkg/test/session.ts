// What a session does, whatever its link is: one suite, run over the server in the page and over the native one.

import { effect } from '@preact/signals-core';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type Client, type Collection, TidewireError } from 'tidewire';
import { until } from './support.js';

interface Todo { id: string; title: string; done?: boolean; n?: number }

/** A way to reach one server with any number of clients. */
export interface Way {
  connect(): Promise<Client>;
  stop(): Promise<void>;
}

export function describeSession(name: string, open: () => Promise<Way>): void {
  describe(`a session over ${name}`, () => {
    let way: Way;
    const clients: Client[] = [];

    const connect = async (): Promise<Client> => {
      const client = await way.connect();
      clients.push(client);
      return client;
    };
    const open2 = async (): Promise<[Collection<Todo>, Collection<Todo>]> => {
      const options = { kind: 'permanent', primary: 'id' } as const;
      const one = (await connect()).datastore<Todo>('todos', undefined, options);
      await one.ready();
      const two = (await connect()).datastore<Todo>('todos', undefined, options);
      await two.ready();
      return [one, two];
    };

    beforeEach(async () => { way = await open(); });
    afterEach(async () => {
      for (const client of clients.splice(0)) client.close();
      await way.stop();
    });

    test('it becomes live, and closed when it is closed', async () => {
      const client = await connect();
      const states: string[] = [];
      const stop = effect(() => void states.push(client.status().state));
      await until(() => client.peekStatus().state === 'live', 'live');
      client.close();
      expect(client.status()).toEqual({ state: 'closed', error: null });
      // In the page it may be live before anybody can look.
      expect(states.filter((state) => state !== 'connecting')).toEqual(['live', 'closed']);
      stop();
    });

    test('an edit in one client reaches the other', async () => {
      const [one, two] = await open2();
      await one.set({ id: '1', title: 'milk' });
      await until(() => two.get('1') !== undefined, 'the record in the other client');
      expect(two.rows()).toEqual([{ id: '1', title: 'milk' }]);
      await two.set({ id: '1', title: 'bread', done: true });
      await until(() => one.get('1')?.title === 'bread', 'the edit in the first client');
      await one.delete('1');
      await until(() => two.rows().length === 0, 'the deletion in the other client');
      expect(two.get('1')).toBeUndefined();
    });

    test('a write resolves when it is shown here', async () => {
      const [one] = await open2();
      await one.set({ id: '1', title: 'milk' });
      expect(one.get('1')).toEqual({ id: '1', title: 'milk' });
      expect(one.meta()).toMatchObject({ sequence: 1, status: 'ok' });
      await one.delete('1');
      expect(one.get('1')).toBeUndefined();
      expect(one.meta().sequence).toBe(2);
    });

    test('rows come in the order of their last change; what did not change is the same object', async () => {
      const [one, two] = await open2();
      for (const id of ['a', 'b', 'c']) await one.set({ id, title: id });
      await until(() => two.rows().length === 3, 'three rows');
      const before = two.rows();
      expect(two.rows()).toBe(before);
      await one.set({ id: 'a', title: 'changed' });
      await until(() => two.get('a')?.title === 'changed', 'the change');
      const after = two.rows();
      expect(after.map((row) => row.id)).toEqual(['b', 'c', 'a']);
      expect(after[0]).toBe(before[1]);
      expect(after[1]).toBe(before[2]);
      // A replica that comes later sees the same order.
      const late = (await connect()).datastore<Todo>('todos');
      await late.ready();
      expect(late.rows()).toEqual(after);
    });

    test('reads are tracked: the list, a record, and a record that is not there yet', async () => {
      const [one, two] = await open2();
      await one.set({ id: 'a', title: 'first' });
      await until(() => two.rows().length === 1, 'one row');
      const lists: number[] = [];
      const titles: (string | undefined)[] = [];
      const missing: (string | undefined)[] = [];
      const stop = [
        effect(() => void lists.push(two.rows().length)),
        effect(() => void titles.push(two.get('a')?.title)),
        effect(() => void missing.push(two.get('b')?.title)),
      ];
      await one.set({ id: 'b', title: 'second' });
      await one.set({ id: 'a', title: 'changed' });
      await until(() => titles.length === 2, 'the changed title');
      expect(lists).toEqual([1, 2, 2]);
      expect(titles).toEqual(['first', 'changed']);
      expect(missing).toEqual([undefined, 'second']);
      await one.delete('b');
      await until(() => missing.length === 3, 'the record gone');
      expect(missing.at(-1)).toBeUndefined();
      expect(titles).toHaveLength(2);
      for (const each of stop) each();
    });

    test('subscribe hears the rows now and after every change; a subscriber that throws robs nobody', async () => {
      const [one] = await open2();
      const heard: number[] = [];
      const errors: TidewireError[] = [];
      one.on('error', (error) => errors.push(error));
      one.subscribe((rows) => { if (rows.length > 0) throw new Error('mine'); });
      const off = one.subscribe((rows) => heard.push(rows.length));
      await one.set({ id: '1', title: 'x' });
      off();
      await one.set({ id: '2', title: 'y' });
      expect(heard).toEqual([0, 1]);
      expect(errors.map((error) => error.code)).toEqual(['subscriber_failed', 'subscriber_failed']);
    });

    test('writes made at once keep their order', async () => {
      const [one, two] = await open2();
      const writes = Array.from({ length: 50 }, (_, n) => one.set({ id: `r${n % 5}`, title: `v${n}`, n }));
      await Promise.all(writes);
      expect(one.rows().map((row) => row.n)).toEqual([45, 46, 47, 48, 49]);
      await until(() => two.meta().sequence === one.meta().sequence, 'the other client');
      expect(two.rows()).toEqual(one.rows());
    });

    test('values cross whole: nested, other scripts, binary, 64-bit integers', async () => {
      const [one, two] = await open2();
      const value = {
        id: 'x', title: 'مدّ 国家 🌊', nested: { list: [1, -2.5, null, [true]], ключ: { '': 0 } },
        blob: Uint8Array.from({ length: 300 }, (_, i) => i & 255), big: 2n ** 63n, long: 'я'.repeat(1000),
      };
      await one.set(value as Todo);
      await until(() => two.get('x') !== undefined, 'the value');
      expect(two.get('x')).toEqual(value);
    });

    test('many records arrive as one snapshot', async () => {
      const [one] = await open2();
      await Promise.all(Array.from({ length: 500 }, (_, n) => one.set({ id: `r${n}`, title: 'x'.repeat(2000), n })));
      const late = (await connect()).datastore<Todo>('todos');
      const lengths = new Set<number>();
      const stop = effect(() => void lengths.add(late.rows().length));
      await late.ready();
      expect(late.rows().map((row) => row.n)).toEqual(Array.from({ length: 500 }, (_, n) => n));
      expect([...lengths]).toEqual([0, 500]);
      stop();
    });

    test('a schema gates the rows: a bad one is held back and keeps its last good value', async () => {
      const [one] = await open2();
      const schema = z.object({ id: z.string(), title: z.string(), done: z.boolean().default(false) });
      const gated = (await connect()).datastore('todos', schema);
      await gated.ready();
      await one.set({ id: '1', title: 'good' });
      await until(() => gated.get('1') !== undefined, 'the good row');
      expect(gated.rows()).toEqual([{ id: '1', title: 'good', done: false }]);
      await one.set({ id: '1', title: 5 } as never);
      await one.set({ id: '2', title: 'also good', done: true });
      await until(() => gated.get('2') !== undefined, 'the row after it');
      expect(gated.get('1')).toEqual({ id: '1', title: 'good', done: false });
      expect(gated.get('2')).toEqual({ id: '2', title: 'also good', done: true });
    });

    test('an object is put, read, replaced and deleted', async () => {
      const one = await connect();
      const two = await connect();
      const here = one.synced<{ name: string }>('user:1');
      const there = two.synced('user:1', z.object({ name: z.string(), age: z.number().default(1) }));
      await one.put('user:1', { name: 'Ada' });
      await here.ready();
      expect(here.get()).toEqual({ name: 'Ada' });
      await until(() => there.get() !== undefined, 'the value in the other client');
      expect(there.get()).toEqual({ name: 'Ada', age: 1 });
      const value = here.get();
      expect(here.get()).toBe(value);
      await two.put('user:1', { name: 'Grace' });
      await until(() => here.get()?.name === 'Grace', 'the replacement');
      expect(here.meta()).toMatchObject({ sequence: 2, status: 'ok' });
      expect(here.meta().epoch).toMatch(/^[0-9a-f]{32}$/);
      await one.delete('user:1');
      expect(here.get()).toBeUndefined();
      await until(() => there.get() === undefined, 'the deletion in the other client');
    });

    test('a value that the gate of an object refuses is not shown', async () => {
      const one = await connect();
      const gated = one.synced('user:2', z.object({ name: z.string() }));
      await one.put('user:2', { name: 'good' });
      await until(() => gated.get() !== undefined, 'the good value');
      await (await connect()).put('user:2', { name: 5 });
      await until(() => gated.stats.parseErrors > 0, 'the refusal');
      expect(gated.get()).toEqual({ name: 'good' });
      expect(gated.meta().error).toMatchObject({ code: 'gate_failed' });
    });

    test('a cell of the application holds the value', async () => {
      const client = await connect();
      const sets: unknown[] = [];
      const cell = { get: () => sets.at(-1), peek: () => sets.at(-1), set: (value: unknown) => void sets.push(value) };
      const replica = client.synced('user:3', undefined, { cell });
      await client.put('user:3', { n: 1 });
      await until(() => sets.length > 0, 'the value in the cell');
      expect(replica.get()).toEqual({ n: 1 });
    });

    test('a write that the server refuses rejects with its code, and changes nothing', async () => {
      const [one] = await open2();
      await expect(one.set({ title: 'no id' } as Todo)).rejects.toMatchObject({ code: 'invalid_request', retryable: false });
      const nowhere = (await connect()).datastore<Todo>('nowhere');
      nowhere.on('error', () => {});
      await expect(nowhere.set({ id: '1', title: 'x' })).rejects.toMatchObject({ code: 'not_found' });
      expect(one.rows()).toEqual([]);
    });

    test('what cannot be sent is refused here', async () => {
      const [one] = await open2();
      await expect(one.set({ id: '1', title: (() => 1) as never })).rejects.toMatchObject({ code: 'unencodable' });
      await expect(one.set({ id: '1', title: 'x'.repeat(300_000) })).rejects.toMatchObject({ code: 'limit_exceeded' });
      await expect(one.delete('')).rejects.toMatchObject({ code: 'invalid_argument' });
      const client = await connect();
      await expect(client.put('x'.repeat(1025), 1)).rejects.toMatchObject({ code: 'invalid_argument' });
      expect(() => client.synced('')).toThrow(/1 to 1024 bytes/);
      expect(() => client.datastore('\ud800')).toThrow(/well-formed/);
    });

    test('a datastore that does not exist and is not to be created is denied', async () => {
      const client = await connect();
      const errors: TidewireError[] = [];
      const collection = client.datastore('nowhere');
      collection.on('error', (error) => errors.push(error));
      await expect(collection.ready()).rejects.toMatchObject({ code: 'denied' });
      expect(errors).toHaveLength(1);
      expect(collection.meta().status).toBe('stale');
    });

    test('after dispose a collection hears nothing more, and what was read stays', async () => {
      const [one, two] = await open2();
      await one.set({ id: '1', title: 'x' });
      await until(() => two.rows().length === 1, 'the row');
      const rows = two.rows();
      two.dispose();
      await one.set({ id: '2', title: 'y' });
      expect(two.rows()).toBe(rows);
      expect(two.meta().sequence).toBe(1);
    });

    test('after close the values stay, and writes reject', async () => {
      const client = await connect();
      const todos = client.datastore<Todo>('todos', undefined, { kind: 'permanent' });
      await todos.set({ id: '1', title: 'x' });
      client.close();
      client.close();
      expect(todos.rows()).toEqual([{ id: '1', title: 'x' }]);
      await expect(todos.set({ id: '2', title: 'y' })).rejects.toMatchObject({ code: 'closed' });
      await expect(client.put('a', 1)).rejects.toMatchObject({ code: 'closed' });
      expect(() => client.synced('a')).toThrow(/closed/);
    });

    test('a hundred clients that come and go leave no one behind', async () => {
      const [one] = await open2();
      await one.set({ id: '1', title: 'x' });
      for (let i = 0; i < 100; i++) {
        const client = await connect();
        const todos = client.datastore<Todo>('todos');
        await todos.ready();
        expect(todos.rows()).toHaveLength(1);
        client.close();
      }
      await one.set({ id: '2', title: 'y' });
      expect(one.rows()).toHaveLength(2);
    });
  });
}
