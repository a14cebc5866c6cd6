// Pools, the mailbox and the kv store of a session, whatever its link is: one suite, run over the server in the page and
// over the native one.

import { effect } from '@preact/signals-core';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { type Client, type KvEvent, type Notification, type Pool } from 'tidewire';
import { turn, until } from './support.js';

/** A way to reach one server with clients of any user. */
export interface UserWay {
  connect(user?: string): Promise<Client>;
  /** Cuts the connection of a client; it comes back by itself. Left out where that cannot be done. */
  cut?(client: Client): void;
  stop(): Promise<void>;
}

export function describeServices(name: string, open: () => Promise<UserWay>): void {
  describe(`services over ${name}`, () => {
    let way: UserWay;
    let reported: unknown[];
    const clients: Client[] = [];

    const connect = async (user?: string): Promise<Client> => {
      const client = await way.connect(user);
      clients.push(client);
      await until(() => client.peekStatus().state === 'live', 'live');
      return client;
    };
    /** Cuts a client's connection, and waits until it has another. It may be back before a poll sees that it was away. */
    const reconnect = async (client: Client): Promise<void> => {
      const states: string[] = [];
      const stop = effect(() => void states.push(client.status().state));
      way.cut!(client);
      await until(() => states.length > 1 && states.at(-1) === 'live', 'the end of the connection, and the next one');
      stop();
    };

    beforeEach(async () => {
      way = await open();
      reported = [];
      vi.stubGlobal('reportError', (error: unknown) => void reported.push(error));
    });
    afterEach(async () => {
      for (const client of clients.splice(0)) client.close();
      await way.stop();
      vi.unstubAllGlobals();
    });

    describe('a pool', () => {
      const both = async (options = {}): Promise<[Pool<number>, Pool<number>]> => {
        const pools = [(await connect()).pool<number>('p', undefined, options), (await connect()).pool<number>('p', undefined, options)] as const;
        await Promise.all(pools.map((pool) => pool.ready()));
        return [...pools];
      };

      test('merges what its members set, and all of them see the same', async () => {
        const [ada, bob] = await both();
        await Promise.all([ada.set({ x: 1, y: 2 }), bob.set({ z: 3 })]);
        await until(() => Object.keys(ada.fields()).length === 3, 'all fields at ada');
        await until(() => Object.keys(bob.fields()).length === 3, 'all fields at bob');
        expect(ada.fields()).toEqual({ x: 1, y: 2, z: 3 });
        expect(bob.fields()).toEqual(ada.fields());
        await bob.delete('x');
        expect(bob.get('x')).toBeUndefined();
        await until(() => ada.get('x') === undefined, 'the deletion at ada');
      });

      test('sends what is set before the present code ends as one change, the last of a field', async () => {
        const [ada, bob] = await both();
        const seen: unknown[] = [];
        bob.subscribe((fields) => seen.push(fields));
        const all = [ada.set({ x: 1 }), ada.set({ y: 2 }), ada.set({ x: 3 })];
        await Promise.all(all);
        await until(() => bob.get('x') !== undefined, 'the change at bob');
        expect(seen).toEqual([{}, { x: 3, y: 2 }]);
        expect(ada.meta().sequence).toBe(2);
      });

      test('tracks fields one by one, and keeps what did not change', async () => {
        const [ada, bob] = await both();
        await ada.set({ x: 1, y: 2 });
        await until(() => bob.get('y') === 2, 'the fields');
        const runs: unknown[] = [];
        const stop = effect(() => void runs.push(bob.get('x')));
        const before = bob.fields();
        expect(bob.fields()).toBe(before);
        await ada.set({ y: 5 });
        await until(() => bob.get('y') === 5, 'the other field');
        expect(runs).toEqual([1]);
        await ada.set({ x: 6 });
        await until(() => bob.get('x') === 6, 'the field');
        expect(runs).toEqual([1, 6]);
        stop();
      });

      test('keeps the last good value of a field that breaks the schema of one field', async () => {
        const open = (await connect()).pool<unknown>('p');
        const gated = (await connect()).pool('p', z.object({ x: z.number() }));
        await open.set({ a: { x: 1 }, b: { x: 2 } });
        await until(() => gated.get('b') !== undefined, 'the fields');
        await open.set({ a: { x: 'bad' }, b: { x: 3 } });
        await until(() => gated.get('b')?.x === 3, 'the good one');
        expect(gated.fields()).toEqual({ a: { x: 1 }, b: { x: 3 } });
      });

      test('a value that cannot be sent rejects alone', async () => {
        const [ada] = await both();
        const bad = ada.set({ x: (() => 1) as never });
        const good = ada.set({ y: 1 });
        await expect(bad).rejects.toMatchObject({ code: 'unencodable' });
        await good;
        expect(ada.fields()).toEqual({ y: 1 });
        await ada.set({});
        expect(ada.meta().sequence).toBe(1);
      });

      test('with presence the fields of who is gone go too', async () => {
        const [ada, bob] = await both({ presence: true });
        await ada.set({ ada: 1 });
        await bob.set({ bob: 2 });
        await until(() => bob.get('ada') === 1, 'both');
        clients[0]!.close();
        await until(() => bob.get('ada') === undefined, 'the end of ada');
        expect(bob.fields()).toEqual({ bob: 2 });
      });

      test('with presence whoever disposes its pool is gone, and whoever comes back is there again', async () => {
        const [ada, bob] = await both({ presence: true });
        await ada.set({ ada: 1, more: 2 });
        await until(() => bob.get('more') === 2, 'ada');
        if (way.cut) {
          await reconnect(clients[0]!);
          await until(() => bob.get('more') === 2 && bob.get('ada') === 1, 'ada again');
        }
        ada.dispose();
        await until(() => Object.keys(bob.fields()).length === 0, 'the end of ada');
      });

      test('one that does not exist and is not to be made is denied', async () => {
        const pool = (await connect()).pool('nowhere', undefined, { create: false });
        pool.on('error', () => {});
        await expect(pool.ready()).rejects.toMatchObject({ code: 'denied' });
      });
    });

    describe('the mailbox', () => {
      test('a notification waits for its target, and comes once', async () => {
        const ada = await connect('ada');
        const trace = await ada.notify('bob', { text: 'hi' });
        expect(trace).toMatch(/^[0-9a-f]{32}$/);
        expect(await ada.inbox.status(trace)).toMatchObject({ from: 'ada', to: 'bob', suit: false, delivered: null, replied: null });
        const bob = await connect('bob');
        const heard: Notification[] = [];
        bob.inbox.subscribe((notification) => heard.push(notification));
        await until(() => heard.length === 1, 'the notification');
        expect(heard[0]).toMatchObject({ trace, from: 'ada', pack: { text: 'hi' }, suit: false });
        expect(heard[0]!.expires - heard[0]!.created).toBe(24 * 3_600_000);
        await until(() => heard.length === 1, 'nothing more');
        let delivered: number | null = null;
        for (let i = 0; delivered === null && i < 100; i++) delivered = (await ada.inbox.status(trace))?.delivered ?? null;
        expect(delivered).toBeGreaterThan(0);
        const again = await connect('bob');
        let later = 0;
        again.inbox.subscribe(() => later++);
        await ada.notify('bob', 2);
        await until(() => later === 1 && heard.length === 2, 'the next one, in both');
        expect(later).toBe(1);
      });

      test('what is sent with suit can be replied to, and the reply is awaited', async () => {
        const [ada, bob] = [await connect('ada'), await connect('bob')];
        bob.inbox.subscribe(async (notification) => {
          if (notification.suit) await notification.reply({ yes: notification.pack });
        });
        const replies: [string, unknown][] = [];
        const off = ada.inbox.onReply((trace, reply) => replies.push([trace, reply]));
        const trace = await ada.notify('bob', 'ready?', { suit: true, ttl: 60_000 });
        expect(await ada.inbox.replyTo(trace)).toEqual({ yes: 'ready?' });
        // One that came long ago is found too.
        expect(await ada.inbox.replyTo(trace)).toEqual({ yes: 'ready?' });
        await until(() => replies.length === 1, 'the reply');
        expect(replies).toEqual([[trace, { yes: 'ready?' }]]);
        off();
        const plain = await ada.notify('bob', 1);
        await expect(ada.inbox.replyTo(plain)).rejects.toMatchObject({ code: 'invalid_argument' });
        await expect(ada.inbox.replyTo('0'.repeat(32))).rejects.toMatchObject({ code: 'not_found' });
        expect(await ada.inbox.status('0'.repeat(32))).toBeUndefined();
        await expect(bob.inbox.reply('0'.repeat(32), 1)).rejects.toMatchObject({ code: 'not_found' });
        const aborted = ada.inbox.replyTo(await ada.notify('carol', 1, { suit: true }), { signal: AbortSignal.timeout(20) });
        await expect(aborted).rejects.toMatchObject({ name: 'TimeoutError' });
      });

      test('a loop takes one after the other; what it leaves comes again', async () => {
        const [ada, bob] = [await connect('ada'), await connect('bob')];
        for (const pack of [1, 2, 3]) await ada.notify('bob', pack);
        const packs: unknown[] = [];
        for await (const { pack } of bob.inbox) {
          packs.push(pack);
          if (pack === 2) break;
        }
        expect(packs).toEqual([1, 2]);
        const rest: unknown[] = [];
        for await (const { pack } of bob.inbox) {
          rest.push(pack);
          if (rest.length === 2) break;
        }
        expect(rest).toEqual([2, 3]);
      });

      test('a loop ends with the client', async () => {
        const bob = await connect('bob');
        const loop = (async () => {
          const packs: unknown[] = [];
          for await (const { pack } of bob.inbox) packs.push(pack);
          return packs;
        })();
        const waiting = bob.inbox.replyTo(await bob.notify('ada', 1, { suit: true }));
        bob.close();
        expect(await loop).toEqual([]);
        await expect(waiting).rejects.toMatchObject({ code: 'closed' });
      });

      test('a listener that throws has not taken it; the others have heard it', async () => {
        const [ada, bob] = [await connect('ada'), await connect('bob')];
        const heard: unknown[] = [];
        const failure = new Error('not now');
        const off = bob.inbox.subscribe(() => { throw failure; });
        bob.inbox.subscribe(({ pack }) => heard.push(pack));
        const trace = await ada.notify('bob', 1);
        await until(() => heard.length === 1, 'the notification');
        await until(() => reported.length === 1, 'the report');
        expect(reported).toEqual([failure]);
        expect((await ada.inbox.status(trace))?.delivered).toBeNull();
        if (!way.cut) return;
        off();
        await reconnect(bob);
        await until(() => heard.length === 2, 'the same again');
        await ada.notify('bob', 2);
        await until(() => heard.length === 3, 'the next');
        await reconnect(bob);
        await ada.notify('bob', 3);
        await until(() => heard.includes(3), 'the last');
        expect(heard).toEqual([1, 1, 2, 3]);
      });

      test('a reply that came during a lost connection is not lost', async () => {
        if (!way.cut) return;
        const [ada, bob] = [await connect('ada'), await connect('bob')];
        const trace = await ada.notify('bob', 1, { suit: true });
        const reply = ada.inbox.replyTo(trace);
        await ada.inbox.status(trace);
        way.cut(ada);
        await bob.inbox.reply(trace, 'here');
        expect(await reply).toBe('here');
      });
    });

    describe('the kv store', () => {
      test('sets, gets, counts and deletes', async () => {
        const kv = (await connect()).kv('settings');
        expect(await kv.get('theme')).toBeUndefined();
        await kv.set('theme', { dark: true });
        await kv.set('size', 3);
        expect(await kv.get('theme')).toEqual({ dark: true });
        expect(await kv.getAll()).toEqual({ theme: { dark: true }, size: 3 });
        expect(await kv.count()).toBe(2);
        await kv.delete('theme');
        await kv.delete('theme');
        expect(await kv.get('theme')).toBeUndefined();
        await kv.set('none', null);
        expect(await kv.get('none')).toBeNull();
        await kv.deleteGroup();
        expect(await kv.count()).toBe(0);
        expect(await kv.getAll()).toEqual({});
      });

      test('groups are found by their beginning', async () => {
        const client = await connect();
        for (const group of ['app', 'app:a', 'app:b', 'other']) await client.kv(group).set('k', 1);
        const kv = client.kv('app');
        expect((await kv.groups()).sort()).toEqual(['app', 'app:a', 'app:b', 'other']);
        expect((await kv.groups('app:')).sort()).toEqual(['app:a', 'app:b']);
        expect(await kv.countAll('app')).toBe(3);
        expect(await kv.countAll()).toBe(4);
      });

      test('a value with a ttl ends', async () => {
        const kv = (await connect()).kv('g');
        await kv.set('k', 1, { ttl: 40 });
        expect(await kv.get('k')).toBe(1);
        await new Promise((resolve) => setTimeout(resolve, 60));
        expect(await kv.get('k')).toBeUndefined();
        await expect(kv.set('k', 1, { ttl: -1 })).rejects.toMatchObject({ code: 'invalid_argument' });
      });

      test('changes of a transaction are made together or not at all', async () => {
        const client = await connect();
        const kv = client.kv('g');
        await kv.transaction((changes) => {
          changes.set('a', 1).set('b', 2).delete('a');
          changes.group('h').set('c', 3);
        });
        expect(await kv.getAll()).toEqual({ b: 2 });
        expect(await client.kv('h').getAll()).toEqual({ c: 3 });
        const refused = kv.transaction((changes) => changes.deleteGroup().set('x'.repeat(2_000), 1));
        await expect(refused).rejects.toMatchObject({ code: 'limit_exceeded' });
        const broken = kv.transaction((changes) => {
          changes.deleteGroup();
          throw new Error('no');
        });
        await expect(broken).rejects.toThrow('no');
        expect(await kv.getAll()).toEqual({ b: 2 });
        await kv.transaction(() => {});
      });

      test('a watch tells what changes, in order, of a key, a group or all', async () => {
        const [ada, bob] = [await connect(), await connect()];
        const heard: Record<string, KvEvent[]> = { key: [], group: [], all: [] };
        const offs = [
          bob.kv('g').watch('k', (event) => heard['key']!.push(event)),
          bob.kv('g').watch('*', (event) => heard['group']!.push(event)),
          bob.kv('*').watch('*', (event) => heard['all']!.push(event)),
        ];
        await until(() => Object.values(heard).every((events) => events.length === 1), 'the watches');
        expect(heard['key']).toEqual([{ kind: 'following' }]);
        await ada.kv('g').set('k', { n: 1 });
        await ada.kv('g').set('x', 2);
        await ada.kv('h').set('k', 3);
        await ada.kv('g').delete('k');
        await ada.kv('g').deleteGroup();
        await until(() => heard['all']!.length === 6, 'all events');
        const brief = (events: KvEvent[] = []): unknown[] => events.slice(1).map((event) => (
          event.kind === 'set' ? [event.kind, event.group, event.key, event.value] : event.kind === 'delete' ? [event.kind, event.group, event.key]
            : event.kind === 'delete_group' ? [event.kind, event.group] : [event.kind]
        ));
        expect(brief(heard['key'])).toEqual([['set', 'g', 'k', { n: 1 }], ['delete', 'g', 'k']]);
        expect(brief(heard['group'])).toEqual([['set', 'g', 'k', { n: 1 }], ['set', 'g', 'x', 2], ['delete', 'g', 'k'], ['delete_group', 'g']]);
        expect(brief(heard['all'])).toHaveLength(5);
        for (const off of offs) off();
        offs[0]!();
        await ada.kv('g').set('k', 4);
        await bob.kv('g').get('k');
        expect(heard['key']).toHaveLength(3);
      });

      test('a watch says when it begins anew, so that nothing is missed in silence', async () => {
        if (!way.cut) return;
        const [ada, bob] = [await connect(), await connect()];
        const heard: string[] = [];
        bob.kv('g').watch('k', ({ kind }) => heard.push(kind));
        await until(() => heard.length === 1, 'the watch');
        await reconnect(bob);
        await until(() => heard.length === 2, 'the watch again');
        await ada.kv('g').set('k', 1);
        await until(() => heard.length === 3, 'the event');
        expect(heard).toEqual(['following', 'following', 'set']);
      });

      test('a watch whose reader throws goes on', async () => {
        const client = await connect();
        let events = 0;
        client.kv('g').watch('k', () => {
          events++;
          throw new Error('bad');
        });
        await client.kv('g').set('k', 1);
        await client.kv('g').set('k', 2);
        await until(() => events === 3, 'all events');
        expect(reported).toHaveLength(3);
      });

      test('what nobody may render is refused with its code', async () => {
        await expect((await connect()).kv('g').render('{{ a }}')).rejects.toMatchObject({ code: 'forbidden' });
      });

      test('after close everything rejects', async () => {
        const client = await connect();
        const kv = client.kv('g');
        const { inbox } = client;
        client.close();
        await expect(kv.get('k')).rejects.toMatchObject({ code: 'closed' });
        await expect(kv.set('k', 1)).rejects.toMatchObject({ code: 'closed' });
        await expect(client.notify('ada', 1)).rejects.toMatchObject({ code: 'closed' });
        await expect(inbox.status('0'.repeat(32))).rejects.toMatchObject({ code: 'closed' });
        expect(() => client.pool('p')).toThrow(/closed/);
        expect(() => kv.watch('k', () => {})).toThrow(/closed/);
        expect(() => inbox.subscribe(() => {})).toThrow(/closed/);
        await turn();
      });
    });
  });
}
