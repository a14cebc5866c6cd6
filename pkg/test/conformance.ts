// What every transport does, whatever carries it: one suite, run for each implementation.
//
// Delivery may take its time: the suite waits for what must come, and for what must not come it publishes a mark after it
// and waits for that.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createClientReplica, type Envelope, type Transport } from 'tidewire';
import { until } from './support.js';

/** A transport that can be asked what the suite asks. */
export interface Tested extends Transport {
  keyCount(): number;
  /** Resolves when nothing is missed any more of what is published on a key that is subscribed. Left out, that is at once. */
  ready?(key: string): Promise<void>;
}

/** One way for envelopes, with any number of transports on it: each hears what the others publish. */
export interface Wire {
  transport(): Promise<Tested>;
  stop(): Promise<void> | void;
}

interface User { name: string; n: number }

export function describeTransport(name: string, open: () => Promise<Wire> | Wire): void {
  const envelope = (sequence: number, value: unknown = { sequence }): Envelope => ({ value, schema_version: '1.0', sequence });

  describe(`a transport over ${name}`, () => {
    let wire: Wire;
    let reported: unknown[];

    beforeEach(async () => {
      wire = await open();
      reported = [];
      vi.stubGlobal('reportError', (error: unknown) => void reported.push(error));
    });
    afterEach(async () => {
      await wire.stop();
      vi.unstubAllGlobals();
    });

    /** Resolves when all that was published on `key` through `from` until now has come to `at`, which listens to it. */
    const flushed = async (from: Tested, at: Tested, key: string): Promise<void> => {
      let came = false;
      const off = at.subscribe(key, ({ sequence }) => { if (sequence === 999_999) came = true; });
      await at.ready?.(key);
      from.publish(key, envelope(999_999));
      await until(() => came, 'the mark');
      off();
    };
    /** Everything but marks. */
    const real = ({ sequence }: Envelope): boolean => sequence !== 999_999;
    const listen = async (at: Tested, key: string, handler: (envelope: Envelope) => void): Promise<() => void> => {
      const off = at.subscribe(key, (each) => { if (real(each)) handler(each); });
      await at.ready?.(key);
      return off;
    };

    test('delivers to every subscriber of the key, in the order of subscription, and to nobody else', async () => {
      const transport = await wire.transport();
      const heard: string[] = [];
      await listen(transport, 'a', (each) => heard.push(`first ${each.sequence}`));
      await listen(transport, 'a', (each) => heard.push(`second ${each.sequence}`));
      await listen(transport, 'b', (each) => heard.push(`other ${each.sequence}`));
      transport.publish('a', envelope(1));
      await flushed(transport, transport, 'a');
      await flushed(transport, transport, 'b');
      expect(heard).toEqual(['first 1', 'second 1']);
    });

    test('carries whole envelopes as they were published, with and without what may be left out', async () => {
      const [here, there] = [await wire.transport(), await wire.transport()];
      const heard: Envelope[] = [];
      await listen(there, 'a', (each) => heard.push(each));
      const sent: Envelope[] = [
        { value: { name: 'Ada', list: [1, 2.5, null, true, 'ü'], deep: { bytes: Uint8Array.of(0, 255) } }, schema_version: '3.1', sequence: 7 },
        { value: 'x', sequence: 8, prev: 3, epoch: '00112233445566778899aabbccddeeff' },
        { value: null, sequence: Number.MAX_SAFE_INTEGER },
        { value: false, schema_version: '', sequence: 0 },
      ];
      for (const each of sent) here.publish('a', each);
      await flushed(here, there, 'a');
      expect(heard).toEqual(sent);
    });

    test('reaches subscribers of other transports and the publisher itself', async () => {
      const [one, two] = [await wire.transport(), await wire.transport()];
      const heard: string[] = [];
      await listen(one, 'a', (each) => heard.push(`one ${each.sequence}`));
      await listen(two, 'a', (each) => heard.push(`two ${each.sequence}`));
      one.publish('a', envelope(1));
      await flushed(one, one, 'a');
      await flushed(one, two, 'a');
      expect(heard.sort()).toEqual(['one 1', 'two 1']);
    });

    test('keeps the order of one publisher', async () => {
      const [here, there] = [await wire.transport(), await wire.transport()];
      const heard: number[] = [];
      await listen(there, 'a', (each) => heard.push(each.sequence));
      for (let n = 0; n < 300; n++) here.publish('a', envelope(n));
      await flushed(here, there, 'a');
      expect(heard).toEqual(Array.from({ length: 300 }, (_, n) => n));
    });

    test('retains nothing: who subscribes later hears only what comes later', async () => {
      const transport = await wire.transport();
      const heard: number[] = [];
      await listen(transport, 'a', () => {});
      transport.publish('a', envelope(1));
      await flushed(transport, transport, 'a');
      await listen(transport, 'a', (each) => heard.push(each.sequence));
      transport.publish('a', envelope(2));
      await flushed(transport, transport, 'a');
      expect(heard).toEqual([2]);
    });

    test('removes no duplicates and looks at no sequence', async () => {
      const transport = await wire.transport();
      const heard: number[] = [];
      await listen(transport, 'a', (each) => heard.push(each.sequence));
      for (const sequence of [5, 5, 2]) transport.publish('a', envelope(sequence));
      await flushed(transport, transport, 'a');
      expect(heard).toEqual([5, 5, 2]);
    });

    test('publishes to nobody without complaint', async () => {
      const transport = await wire.transport();
      expect(() => transport.publish('nobody', envelope(1))).not.toThrow();
      await flushed(transport, transport, 'somebody');
      expect(reported).toEqual([]);
    });

    test('unsubscribing twice does not remove a handler that subscribed again', async () => {
      const transport = await wire.transport();
      const heard: number[] = [];
      const handler = (each: Envelope): void => { if (real(each)) heard.push(each.sequence); };
      const off = transport.subscribe('a', handler);
      off();
      transport.subscribe('a', handler);
      off();
      await transport.ready?.('a');
      transport.publish('a', envelope(1));
      await flushed(transport, transport, 'a');
      expect(heard).toEqual([1]);
    });

    test('a handler that leaves during a delivery ends only its own; one that joins waits for the next', async () => {
      const transport = await wire.transport();
      const heard: string[] = [];
      let joined = false;
      const off = await listen(transport, 'a', () => {
        heard.push('first');
        off();
        if (!joined) transport.subscribe('a', (each) => { if (real(each)) heard.push('late'); });
        joined = true;
      });
      await listen(transport, 'a', () => heard.push('second'));
      transport.publish('a', envelope(1));
      await until(() => heard.length > 1, 'the first envelope');
      expect(heard).toEqual(['first', 'second']);
      transport.publish('a', envelope(2));
      await flushed(transport, transport, 'a');
      expect(heard).toEqual(['first', 'second', 'second', 'late']);
    });

    test('the last handler of a key may leave, and come back, inside its own delivery', async () => {
      const transport = await wire.transport();
      const heard: number[] = [];
      const join = (): void => {
        const off = transport.subscribe('a', (each) => {
          if (!real(each)) return;
          heard.push(each.sequence);
          off();
          if (heard.length < 3) join();
        });
      };
      join();
      for (const sequence of [1, 2, 3]) {
        await transport.ready?.('a');
        transport.publish('a', envelope(sequence));
        await until(() => heard.length === sequence, `envelope ${sequence}`);
      }
      expect(heard).toEqual([1, 2, 3]);
      expect(transport.keyCount()).toBe(0);
    });

    test('a handler may publish, on its own key and on others', async () => {
      const transport = await wire.transport();
      const heard: string[] = [];
      await listen(transport, 'b', (each) => heard.push(`b ${each.sequence}`));
      await listen(transport, 'a', (each) => {
        heard.push(`a ${each.sequence}`);
        if (each.sequence < 3) transport.publish('a', envelope(each.sequence + 1));
        else transport.publish('b', envelope(1));
      });
      transport.publish('a', envelope(1));
      await until(() => heard.length === 4, 'all of them');
      expect(heard).toEqual(['a 1', 'a 2', 'a 3', 'b 1']);
    });

    test('a handler that throws robs nobody, and what it threw is reported', async () => {
      const transport = await wire.transport();
      const heard: number[] = [];
      const failure = new Error('a bad handler');
      await listen(transport, 'a', () => { throw failure; });
      await listen(transport, 'a', (each) => heard.push(each.sequence));
      expect(() => transport.publish('a', envelope(1))).not.toThrow();
      transport.publish('a', envelope(2));
      await flushed(transport, transport, 'a');
      expect(heard).toEqual([1, 2]);
      expect(reported).toEqual([failure, failure]);
    });

    test('the key count follows the keys that somebody listens to, and goes back to zero', async () => {
      const transport = await wire.transport();
      const offs = ['a', 'a', 'b'].map((key) => transport.subscribe(key, () => {}));
      expect(transport.keyCount()).toBe(2);
      offs[0]!();
      expect(transport.keyCount()).toBe(2);
      offs[1]!();
      offs[2]!();
      offs[2]!();
      expect(transport.keyCount()).toBe(0);
    });

    test('a thousand keys that come and go leave nothing behind', async () => {
      const transport = await wire.transport();
      const heard: number[] = [];
      const offs = Array.from({ length: 1_000 }, (_, n) => transport.subscribe(`key:${n}`, (each) => heard.push(each.sequence)));
      await Promise.all(offs.map((_, n) => transport.ready?.(`key:${n}`)));
      for (let n = 0; n < 1_000; n++) transport.publish(`key:${n}`, envelope(n));
      await until(() => heard.length === 1_000, 'one envelope each');
      expect(new Set(heard).size).toBe(1_000);
      for (const off of offs) off();
      expect(transport.keyCount()).toBe(0);
    });

    test('a replica over it applies what comes in order, and mends a gap by its refetch', async () => {
      const [here, there] = [await wire.transport(), await wire.transport()];
      const shown: (User | undefined)[] = [];
      let asked = 0;
      const replica = createClientReplica<User>({
        key: 'user:1',
        transport: there,
        refetch: async () => {
          asked++;
          return envelope(4, { name: 'snapshot', n: 4 }) as Envelope<User>;
        },
      });
      replica.subscribe((value) => shown.push(value));
      await there.ready?.('user:1');
      here.publish('user:1', envelope(1, { name: 'Ada', n: 1 }));
      here.publish('user:1', envelope(2, { name: 'Ada', n: 2 }));
      await until(() => replica.peekMeta().sequence === 2, 'two in order');
      // The third is lost on the way.
      here.publish('user:1', envelope(4, { name: 'Ada', n: 4 }));
      await until(() => replica.peekMeta().sequence === 4 && replica.peekMeta().status === 'ok', 'the recovery');
      here.publish('user:1', envelope(4, { name: 'Ada', n: 4 }));
      here.publish('user:1', envelope(5, { name: 'Ada', n: 5 }));
      await until(() => replica.peekMeta().sequence === 5, 'what comes after');
      expect(shown.map((value) => value?.n)).toEqual([undefined, 1, 2, 4, 5]);
      expect(asked).toBe(1);
      // Two were older than the snapshot when it came: the gapped one itself, and its copy.
      expect(replica.stats).toMatchObject({ applied: 4, gaps: 1, ignoredStale: 2, refetches: 1 });
      replica.dispose();
      expect(there.keyCount()).toBe(0);
    });

    test('two replicas of one key each keep their own gate', async () => {
      const transport = await wire.transport();
      const strict = {
        parse: (value: unknown) => (value as User).n > 1
          ? { tag: 'Ok' as const, value: value as User } : { tag: 'Err' as const, error: 'too small' },
      };
      const gated = createClientReplica({ key: 'k', schema: strict, transport });
      const open = createClientReplica<User>({ key: 'k', transport });
      await transport.ready?.('k');
      expect(transport.keyCount()).toBe(1);
      transport.publish('k', envelope(1, { name: 'a', n: 1 }));
      transport.publish('k', envelope(2, { name: 'a', n: 2 }));
      await until(() => open.peek()?.n === 2, 'the second');
      expect(gated.peek()).toEqual({ name: 'a', n: 2 });
      expect(gated.stats.parseErrors).toBe(1);
      gated.dispose();
      open.dispose();
    });
  });
}
