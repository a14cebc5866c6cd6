// The server in a test: a clock that stands still, a bad network that is the same each time, ends and restarts.

import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type Client, connect, createClientReplica } from 'tidewire';
import { type Faults, ReferenceServer, type ReferenceServerOptions, type Traffic } from 'tidewire/testing';

const open: (() => void)[] = [];
afterEach(() => {
  for (const close of open.splice(0).reverse()) close();
});

async function start(options: ReferenceServerOptions = {}): Promise<ReferenceServer> {
  const server = await ReferenceServer.create({ clock: 'manual', ...options });
  open.push(() => server.close());
  return server;
}

async function join(server: ReferenceServer, token?: string): Promise<Client> {
  const client = await connect(server, { token });
  open.push(() => client.close());
  return client;
}

describe('a manual clock', () => {
  test('stands still: nothing arrives before somebody lets it', async () => {
    const server = await start();
    const client = await join(server);
    const user = client.synced<string>('user:1');
    server.put('user:1', 'Ada');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(client.status().state).toBe('connecting');
    expect(user.get()).toBeUndefined();
    await server.settle();
    expect(client.status().state).toBe('live');
    expect(user.get()).toBe('Ada');
  });

  test('moves on exactly as far as it is told, and hours take no time', async () => {
    const server = await start();
    const before = server.now();
    const client = await join(server);
    const started = Date.now();
    await server.advance(6 * 3_600_000);
    expect(server.now() - before).toBe(6 * 3_600_000);
    expect(Date.now() - started).toBeLessThan(10_000);
    // Beacons and pings went both ways all the while.
    expect(client.status().state).toBe('live');
  });

  test('is the clients\' too: they wait for their next attempt by it', async () => {
    const server = await start();
    const client = await join(server);
    await server.settle();
    server.online = false;
    await server.settle();
    const status = client.status();
    if (status.state !== 'reconnecting') throw new Error(status.state);
    expect(status.nextAttemptAt).toBeGreaterThan(server.now());
    expect(status.nextAttemptAt).toBeLessThanOrEqual(server.now() + 30_000);
    await server.advance(60_000);
    expect(client.status().state).toBe('reconnecting');
    server.online = true;
    await server.advance(30_000);
    expect(client.status().state).toBe('live');
  });

  test('lets promises go on that hang on what arrived', async () => {
    const server = await start();
    const client = await join(server);
    let steps = 0;
    const chain = (async () => {
      for (; steps < 20; steps++) await client.put(`k:${steps}`, steps);
    })();
    await server.settle();
    expect(steps).toBe(20);
    await chain;
  });

  test('takes calls one after the other', async () => {
    const server = await start();
    const before = server.now();
    await Promise.all([server.advance(1_000), server.settle(), server.advance(500)]);
    expect(server.now() - before).toBe(1_500);
  });

  test('is told apart from a real one', async () => {
    const server = await ReferenceServer.create();
    open.push(() => server.close());
    expect(() => server.advance(1)).toThrow("clock: 'manual'");
    const client = await join(server);
    const user = client.synced<number>('u');
    server.put('u', 1);
    await server.settle();
    expect(user.get()).toBe(1);
  });
});

/** A run with two clients under faults; what every frame and every reader saw. */
async function run(seed: number, faults: Faults): Promise<{ trace: Traffic[]; shown: unknown[]; ends: unknown }> {
  const trace: Traffic[] = [];
  const server = await ReferenceServer.create({ seed, clock: 'manual', faults, observe: (traffic) => trace.push(traffic) });
  server.datastore('todos', { kind: 'permanent' });
  const clients = await Promise.all([connect(server), connect(server)]);
  const shown: unknown[] = [];
  const views = clients.map((client, i) => {
    const note = client.synced<number>('note');
    note.subscribe((value) => shown.push([i, server.now(), value]));
    const todos = client.datastore<{ id: string; n: number }>('todos');
    todos.subscribe((rows) => shown.push([i, server.now(), rows.length]));
    return { note, todos };
  });
  const writes: Promise<unknown>[] = [];
  for (let i = 1; i <= 60; i++) {
    server.put('note', i);
    writes.push(views[i % 2]!.todos.set({ id: String(i % 7), n: i }).catch((error: { code: string }) => error.code));
    await server.advance(i % 5 === 0 ? 900 : 40);
  }
  server.faults = {};
  await server.advance(90_000);
  const outcomes = await Promise.all(writes);
  const ends = {
    outcomes,
    notes: views.map(({ note }) => note.get()),
    rows: views.map(({ todos }) => [...todos.rows()].sort((a, b) => a.id.localeCompare(b.id))),
    states: clients.map((client) => client.status().state),
  };
  for (const client of clients) client.close();
  server.close();
  return { trace, shown, ends };
}

describe('faults', () => {
  const terrible: Faults = { drop: 0.2, duplicate: 0.2, reorder: 0.2, delay: [5, 120], disconnect: 0.01 };

  test('are the same for the same seed, down to the last frame, and others for another', async () => {
    const [one, again, other] = [await run(7, terrible), await run(7, terrible), await run(8, terrible)];
    expect(again).toEqual(one);
    expect(other.trace).not.toEqual(one.trace);
    const fates = new Set(one.trace.map(({ fate }) => fate));
    expect(fates).toEqual(new Set(['sent', 'delivered', 'dropped', 'duplicated', 'reordered', 'broken']));
  });

  test('end in what the server has, for 40 seeds and every mix', async () => {
    const mixes: Faults[] = [{ drop: 0.5 }, { duplicate: 0.5 }, { reorder: 0.5 }, { delay: [0, 400] }, { disconnect: 0.03 }, terrible];
    for (let seed = 1; seed <= 40; seed++) {
      const { ends } = await run(seed, mixes[seed % mixes.length]!) as { ends: { outcomes: unknown[]; notes: unknown[]; rows: unknown[][]; states: unknown[] } };
      expect(ends.states, `seed ${seed}`).toEqual(['live', 'live']);
      expect(ends.notes, `seed ${seed}`).toEqual([60, 60]);
      expect(ends.rows[0], `seed ${seed}`).toEqual(ends.rows[1]);
      expect(ends.rows[0], `seed ${seed}`).toHaveLength(7);
      expect(new Set(ends.outcomes), `seed ${seed}`).toEqual(new Set([undefined]));
    }
  }, 60_000);

  test('leave frames in order: a delay is no reordering', async () => {
    const server = await start({ seed: 3, faults: { delay: [0, 500] } });
    const client = await join(server);
    const note = client.synced<number>('note');
    const heard: number[] = [];
    note.subscribe((n) => { if (n !== undefined) heard.push(n); });
    await server.advance(5_000);
    for (let i = 1; i <= 50; i++) {
      server.put('note', i);
      await server.advance(10);
    }
    await server.settle();
    expect(heard).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    expect(note.stats.gaps).toBe(0);
  });

  test('of nonsense are refused', async () => {
    const server = await start();
    for (const faults of [{ drop: 1.5 }, { reorder: -1 }, { duplicate: NaN }, { delay: -1 }, { delay: [5, 1] as const }, { delay: Infinity }]) {
      expect(() => { server.faults = faults; }).toThrow('faults: ');
    }
    expect(server.faults).toEqual({});
    await expect(ReferenceServer.create({ faults: { drop: 2 } })).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

describe('the server\'s process', () => {
  test('restarts with what was durable, and clients come back by themselves', async () => {
    const server = await start();
    server.datastore('kept', { kind: 'permanent' }).set({ id: '1' });
    server.datastore('lost').set({ id: '1' });
    const client = await join(server);
    const [kept, note] = [client.datastore('kept'), client.synced('note')];
    const first = client.put('note', 'before');
    await server.settle();
    await first;
    const { epoch } = note.meta();
    server.restart();
    await server.settle();
    expect(client.status().state).toBe('reconnecting');
    expect(note.get()).toBe('before');
    const write = client.put('note', 'after');
    await server.advance(5_000);
    await write;
    expect(client.status().state).toBe('live');
    expect([note.get(), note.meta().epoch, note.meta().sequence]).toEqual(['after', epoch, 2]);
    expect(kept.rows()).toEqual([{ id: '1' }]);
    expect(() => server.datastore('lost')).not.toThrow();
    const lost = client.datastore('lost');
    await server.settle();
    expect(lost.rows()).toEqual([]);
  });

  test('rolled back, it goes on under a new epoch, and clients say what they lost', async () => {
    const server = await start();
    const client = await join(server);
    const note = client.synced<string>('note');
    const lost: unknown[] = [];
    note.on('rollback', (position) => lost.push(position.sequence));
    for (const text of ['one', 'two', 'three']) server.put('note', text);
    await server.settle();
    const { epoch } = note.meta();
    server.rollback(2);
    expect(server.snapshot('note')).toMatchObject({ value: 'one', sequence: 1 });
    await server.advance(5_000);
    expect(note.get()).toBe('one');
    expect(note.meta().epoch).not.toBe(epoch);
    expect(lost).toEqual([1]);
    server.put('note', 'again');
    await server.settle();
    expect([note.get(), note.meta().sequence]).toEqual(['again', 2]);
  });

  test('is not rolled back further than is kept', async () => {
    const server = await start({ history: 2 });
    for (let i = 0; i < 5; i++) server.put('n', i);
    expect(() => server.rollback(3)).toThrow('3 commits are not kept');
    server.rollback(2);
    expect(server.snapshot('n')?.value).toBe(2);
    server.rollback(0);
    expect(server.snapshot('n')?.value).toBe(2);
    expect(() => server.rollback(1)).toThrow('not kept');
    expect(() => server.rollback(-1)).toThrow('a number of commits');
  });
});

describe('rules', () => {
  const User = z.object({ name: z.string().min(1), email: z.string() });

  test('refuse bad values, stamp good ones, and show each viewer its part', async () => {
    const server = await start({
      authorize: (token) => token === 'root' ? 'root' : token?.startsWith('user:') ? { user: token, read: ['object:*'], write: [`object:${token}`] } : null,
      objects: {
        'user:*': { schema: User, schemaVersion: '2.0', project: { name: true, email: ({ viewer, key }) => viewer === key } },
      },
    });
    const [root, ada, bob] = [await join(server, 'root'), await join(server, 'user:ada'), await join(server, 'user:bob')];
    const write = root.put('user:ada', { name: 'Ada', email: 'a@b.c' });
    const bad = root.put('user:bob', { name: '', email: 'b@b.c' }).catch((error: unknown) => error);
    const foreign = bob.put('user:ada', { name: 'Eve', email: '' }).catch((error: unknown) => error);
    const [own, other] = [ada.synced('user:ada'), bob.synced('user:ada')];
    await server.settle();
    await write;
    expect(await bad).toMatchObject({ code: 'invalid_value', message: expect.stringContaining('name') });
    expect(await foreign).toMatchObject({ code: 'forbidden' });
    expect(own.get()).toEqual({ name: 'Ada', email: 'a@b.c' });
    expect(other.get()).toEqual({ name: 'Ada' });
    expect(own.meta().schemaVersion).toBe('2.0');
    expect(() => server.put('user:eve', { name: 1 })).toThrow('the value is refused');
    const stranger = await join(server, 'nobody');
    await server.settle();
    expect(stranger.status()).toMatchObject({ state: 'closed', error: { code: 'unauthorized' } });
  });

  test('compute objects that were never written, once', async () => {
    const asked: string[] = [];
    const server = await start({
      objects: {
        'time:*': { resolve: (key, { now }) => { asked.push(key); return { now }; } },
        'none:*': { resolve: () => undefined },
        'bad:*': { resolve: () => { throw new Error('not now'); } },
      },
    });
    const client = await join(server);
    const [time, none, bad] = [client.synced('time:a'), client.synced('none:a'), client.synced('bad:a')];
    await server.settle();
    expect(time.get()).toEqual({ now: server.now() });
    expect(time.meta().sequence).toBe(1);
    expect(asked).toEqual(['time:a']);
    expect(none.get()).toBeUndefined();
    expect(bad.get()).toBeUndefined();
    expect(() => server.snapshot('bad:a')).toThrow('cannot be computed now');
    expect(server.snapshot('time:a')).toMatchObject({ value: { now: server.now() }, sequence: 1 });
  });

  test('cannot call the server, and are told so', async () => {
    let caught: unknown;
    const server: ReferenceServer = await start({
      objects: { 'loop': { resolve: () => { try { server.put('x', 1); } catch (error) { caught = error; } return 1; } } },
    });
    server.snapshot('loop');
    expect(caught).toMatchObject({ code: 'invalid_argument' });
    server.put('x', 2);
    expect(server.snapshot('x')?.value).toBe(2);
  });
});

test('a replica over the server\'s pipe lives in its time: a failed refetch is tried again by the manual clock', async () => {
  const server = await start({ seed: 5 });
  const transport = server.transport();
  let fails = 2;
  const replica = createClientReplica<number>({
    key: 'n', transport,
    refetch: () => {
      if (fails-- > 0) throw new Error('no');
      return server.snapshot<number>('n');
    },
  });
  server.put('n', 1);
  await server.settle();
  expect(replica.get()).toBe(1);
  server.faults = { drop: 1 };
  server.put('n', 2);
  await server.settle();
  server.faults = {};
  server.put('n', 3);
  await server.settle();
  expect(replica.stats.gaps).toBe(1);
  await server.advance(30_000);
  expect(fails).toBeLessThan(0);
  expect(replica.get()).toBe(3);
  replica.dispose();
});

describe('the authority', () => {
  test('sees what clients wrote, in the order of the last changes', async () => {
    const server = await start();
    const todos = server.datastore<{ id: string; n: number }>('todos', { kind: 'permanent' });
    const client = await join(server);
    const mine = client.datastore('todos');
    const writes = ['2', '1', 'x', '10'].map((id, n) => mine.set({ id, n }));
    await server.settle();
    await Promise.all(writes);
    expect(todos.rows().map(({ id }) => id)).toEqual(['2', '1', 'x', '10']);
    expect(todos.get('x')).toEqual({ id: 'x', n: 2 });
    expect(todos.get('constructor')).toBeUndefined();
    todos.delete('2');
    expect(todos.rows()).toHaveLength(3);
  });

  test('has pools, mailboxes and a key-value store, whose lives are those of its clock', async () => {
    const server = await start();
    const pool = server.pool('doc', { presence: true });
    expect([pool.merge({ title: 'a', 7: 1n }), pool.merge({ gone: null }), pool.merge({ title: null })]).toEqual([2, null, 3]);
    expect(pool.fields()).toEqual(new Map([['7', 1]]));
    expect(server.pool().id).toMatch(/^[0-9a-f]{24}$/);
    await server.advance(3_600_001);
    expect(pool.fields().size).toBe(0);

    const box = server.mailbox('ada');
    const traces = [box.put('hello'), box.put({ n: 2 }, { suit: true, ttl: 60_000 })];
    expect(traces[0]).toMatch(/^[0-9a-f]{32}$/);
    box.reply(traces[1]!, 'yes');
    expect(box.status(traces[1]!)).toMatchObject({ from: 'server', to: 'ada', suit: true, reply: 'yes', delivered: null, expires: server.now() + 60_000 });
    expect(() => box.reply(traces[0]!, 'no')).toThrow('wants no reply');
    await server.advance(60_001);
    expect(box.status(traces[1]!)).toBeNull();
    expect(box.status('nonsense')).toBeNull();
    expect(box.drain().map(({ pack }) => pack)).toEqual(['hello']);
    expect(box.drain()).toEqual([]);

    const settings = server.kv('settings');
    settings.set('theme', 'dark');
    settings.set('code', Uint8Array.of(1), { ttl: 1_000 });
    expect(settings.entries()).toEqual(new Map<string, unknown>([['code', Uint8Array.of(1)], ['theme', 'dark']]));
    await server.advance(1_001);
    expect([settings.get('theme'), settings.get('code'), settings.delete('code'), settings.delete('theme')]).toEqual(['dark', undefined, false, true]);
    expect(settings.clear()).toBe(false);
  });
});
