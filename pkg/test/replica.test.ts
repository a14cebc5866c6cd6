// `createClientReplica` against the compatibility contract: what code written for the first version relies on, line by
// line, and the rules that were added to it.

import { computed, effect, signal } from '@preact/signals-core';
import { expect, test, vi } from 'vitest';
import {
  type Cell, createClientReplica, type Envelope, InProcessTransport, type RefetchContext, type TaggedSchema,
  TidewireError,
} from 'tidewire';
import { turn } from './support.js';

interface User { name: string }

const KEY = 'user:123';

const User: TaggedSchema<User> = {
  parse: (value) => typeof (value as User | null)?.name === 'string'
    ? { tag: 'Ok', value: value as User }
    : { tag: 'Err', error: 'name must be a string' },
};

const envelope = (sequence: number, name = `v${sequence}`): Envelope => ({ value: { name }, schema_version: '3.1', sequence });
const bad = (sequence: number): Envelope => ({ value: { name: 5 }, schema_version: '3.1', sequence });

function setup(options: { seed?: Envelope; refetch?: (context: RefetchContext) => Promise<Envelope | null>; cell?: Cell<User | undefined> } = {}) {
  const transport = new InProcessTransport();
  const replica = createClientReplica({ key: KEY, schema: User, transport, ...options });
  return { transport, replica, publish: (e: Envelope) => transport.publish(KEY, e) };
}

/** A refetch whose answers are given by hand. */
function controlled() {
  const calls: { resolve: (e: Envelope | null) => void; reject: (error: unknown) => void; context: RefetchContext }[] = [];
  const refetch = (context: RefetchContext) =>
    new Promise<Envelope | null>((resolve, reject) => calls.push({ resolve, reject, context }));
  return { calls, refetch };
}

// ---- before anything, and hydration

test('without a seed it has no value, sequence -1, and is stale', () => {
  const { replica } = setup();
  expect(replica.get()).toBeUndefined();
  expect(replica.peek()).toBeUndefined();
  expect(replica.meta()).toMatchObject({ schemaVersion: null, sequence: -1, status: 'stale' });
  expect(replica.stats).toMatchObject({ applied: 0, ignoredStale: 0, gaps: 0, parseErrors: 0, refetches: 0 });
});

test('a seed is shown at once, with its version and sequence', () => {
  const { replica } = setup({ seed: envelope(42) });
  expect(replica.get()).toEqual({ name: 'v42' });
  expect(replica.meta()).toMatchObject({ schemaVersion: '3.1', sequence: 42, status: 'ok' });
  expect(replica.stats.applied).toBe(1);
});

test('the next value in order is shown without a look at the clock, and a gap with one: its deadlines need it', () => {
  const { refetch } = controlled();
  const { replica, publish } = setup({ refetch });
  publish(envelope(1));
  const clock = vi.spyOn(Date, 'now');
  publish(envelope(2));
  expect(replica.get()).toEqual({ name: 'v2' });
  expect(clock).not.toHaveBeenCalled();
  publish(envelope(4));
  expect(clock).toHaveBeenCalled();
  clock.mockRestore();
});

test('a seed that does not parse is not shown; with a refetch it recovers', async () => {
  const { calls, refetch } = controlled();
  const { replica } = setup({ seed: bad(42), refetch });
  expect(replica.get()).toBeUndefined();
  expect(replica.stats.parseErrors).toBe(1);
  expect(replica.stats.refetches).toBe(1);
  expect(replica.meta().status).toBe('refetching');
  calls[0]!.resolve(envelope(43));
  await replica.whenIdle();
  expect(replica.get()).toEqual({ name: 'v43' });
  expect(replica.meta()).toMatchObject({ sequence: 43, status: 'ok' });
});

test('a seed that does not parse, without a refetch: stale', () => {
  const { replica } = setup({ seed: bad(42) });
  expect(replica.get()).toBeUndefined();
  expect(replica.meta()).toMatchObject({ sequence: -1, status: 'stale' });
});

test('the first value ever seen is the base, whatever its sequence', () => {
  const { replica, publish } = setup();
  publish(envelope(900));
  expect(replica.get()).toEqual({ name: 'v900' });
  expect(replica.meta()).toMatchObject({ sequence: 900, status: 'ok' });
});

// ---- receipts

test('the next sequence is applied before publish returns', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  publish(envelope(2));
  expect(replica.peek()).toEqual({ name: 'v2' });
  publish(envelope(3));
  expect(replica.peek()).toEqual({ name: 'v3' });
  expect(replica.stats).toMatchObject({ applied: 3, ignoredStale: 0, gaps: 0 });
});

test('what was applied before is ignored and counted', () => {
  const { replica, publish } = setup({ seed: envelope(5) });
  publish(envelope(5, 'duplicate'));
  publish(envelope(3, 'late'));
  expect(replica.get()).toEqual({ name: 'v5' });
  expect(replica.stats).toMatchObject({ applied: 1, ignoredStale: 2, gaps: 0 });
  expect(replica.meta().status).toBe('ok');
});

test('a gap is counted, keeps the value, and refetches', async () => {
  const { calls, refetch } = controlled();
  const { replica, publish } = setup({ seed: envelope(1), refetch });
  publish(envelope(4));
  expect(replica.stats).toMatchObject({ gaps: 1, refetches: 1, applied: 1 });
  expect(replica.get()).toEqual({ name: 'v1' });
  expect(replica.meta().status).toBe('refetching');
  expect(calls).toHaveLength(1);
  expect(calls[0]!.context.position).toEqual({ epoch: null, sequence: 1 });
  calls[0]!.resolve(envelope(4));
  await replica.whenIdle();
  expect(replica.get()).toEqual({ name: 'v4' });
  expect(replica.meta()).toMatchObject({ sequence: 4, status: 'ok' });
});

test('a gap without a refetch: the value stays and the status is stale', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  publish(envelope(4));
  expect(replica.get()).toEqual({ name: 'v1' });
  expect(replica.meta()).toMatchObject({ sequence: 1, status: 'stale' });
  expect(replica.stats).toMatchObject({ gaps: 1, refetches: 0 });
});

test('after a gap the order goes on where the snapshot put it', async () => {
  const { calls, refetch } = controlled();
  const { replica, publish } = setup({ seed: envelope(1), refetch });
  publish(envelope(4));
  calls[0]!.resolve(envelope(4));
  await replica.whenIdle();
  publish(envelope(5));
  expect(replica.get()).toEqual({ name: 'v5' });
  expect(replica.stats).toMatchObject({ gaps: 1, refetches: 1 });
});

test('what arrives during a refetch is not lost: the snapshot is followed by what was held back', async () => {
  const { calls, refetch } = controlled();
  const { replica, publish } = setup({ seed: envelope(1), refetch });
  publish(envelope(3));
  publish(envelope(4));
  calls[0]!.resolve(envelope(2));
  await replica.whenIdle();
  expect(replica.get()).toEqual({ name: 'v4' });
  expect(replica.meta()).toMatchObject({ sequence: 4, status: 'ok' });
});

test('a receipt that does not parse keeps the value, counts, and refetches', async () => {
  const { calls, refetch } = controlled();
  const { replica, publish } = setup({ seed: envelope(1), refetch });
  publish(bad(2));
  expect(replica.get()).toEqual({ name: 'v1' });
  expect(replica.stats).toMatchObject({ parseErrors: 1, refetches: 1 });
  calls[0]!.resolve(envelope(2));
  await replica.whenIdle();
  expect(replica.get()).toEqual({ name: 'v2' });
  expect(replica.meta().status).toBe('ok');
});

test('a snapshot that does not parse asks for no other one at once', async () => {
  const { calls, refetch } = controlled();
  const { replica, publish } = setup({ seed: envelope(1), refetch });
  publish(envelope(5));
  calls[0]!.resolve(bad(5));
  await replica.whenIdle();
  await turn();
  expect(replica.get()).toEqual({ name: 'v1' });
  expect(replica.meta().status).toBe('skew');
  expect(replica.stats).toMatchObject({ parseErrors: 1, refetches: 1 });
  replica.dispose();
});

test('a refetch that fails: stale, with the reason, and nothing is thrown', async () => {
  const { calls, refetch } = controlled();
  const { replica, publish } = setup({ seed: envelope(1), refetch });
  publish(envelope(5));
  const cause = new Error('no network');
  calls[0]!.reject(cause);
  await replica.whenIdle();
  expect(replica.meta().status).toBe('stale');
  expect(replica.meta().error).toMatchObject({ code: 'unavailable', retryable: true, cause });
  expect(replica.get()).toEqual({ name: 'v1' });
  replica.dispose();
});

test('a refetch that throws at once is a failed one', async () => {
  const { replica, publish } = setup({ seed: envelope(1), refetch: () => { throw new Error('no'); } });
  expect(() => publish(envelope(5))).not.toThrow();
  await replica.whenIdle();
  expect(replica.meta().status).toBe('stale');
  replica.dispose();
});

test('one refetch at a time, however many gaps', () => {
  const { calls, refetch } = controlled();
  const { replica, publish } = setup({ seed: envelope(1), refetch });
  for (const sequence of [5, 7, 9]) publish(envelope(sequence));
  expect(calls).toHaveLength(1);
  expect(replica.stats.gaps).toBe(3);
  replica.dispose();
});

test('a schema that throws, or answers later, is a failed parse and not an exception', () => {
  const transport = new InProcessTransport();
  for (const parse of [() => { throw new Error('bug'); }, async () => ({ tag: 'Ok', value: 1 }), () => undefined]) {
    const replica = createClientReplica({ key: KEY, schema: { parse } as unknown as TaggedSchema, transport });
    expect(() => transport.publish(KEY, envelope(1))).not.toThrow();
    expect(replica.stats.parseErrors).toBe(1);
    expect(replica.get()).toBeUndefined();
    expect(replica.meta().error).toBeInstanceOf(TidewireError);
    replica.dispose();
  }
});

test('what is shown is the output of the gate', () => {
  const transport = new InProcessTransport();
  const schema: TaggedSchema<string> = { parse: (v) => ({ tag: 'Ok', value: (v as User).name.toUpperCase() }) };
  const replica = createClientReplica({ key: KEY, schema, transport, seed: envelope(1, 'ada') });
  expect(replica.get()).toBe('ADA');
  replica.dispose();
});

test('without a schema values are trusted, and shown as the same object', () => {
  const transport = new InProcessTransport();
  const replica = createClientReplica<User>({ key: KEY, transport });
  const value = { name: 'as it is' };
  transport.publish(KEY, { value, schema_version: '1.0', sequence: 1 });
  expect(replica.get()).toBe(value);
  replica.dispose();
});

test('envelopes that are none are counted and do no harm', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  const broken: unknown[] = [null, undefined, 'text', {}, { ...envelope(2), sequence: 'x' }, { ...envelope(2), sequence: 1.5 },
    { ...envelope(2), sequence: -1 }, { ...envelope(2), sequence: NaN }, { ...envelope(2), sequence: 2 ** 53 }, { ...envelope(2), prev: 2 }];
  for (const each of broken) expect(() => publish(each as Envelope)).not.toThrow();
  expect(replica.get()).toEqual({ name: 'v1' });
  expect(replica.stats).toMatchObject({ parseErrors: broken.length, applied: 1 });
  publish(envelope(2));
  expect(replica.get()).toEqual({ name: 'v2' });
});

// ---- reading: cells and tracking

test('get and meta are tracked, peek and peekMeta are not', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  const values: unknown[] = [];
  const sequences: number[] = [];
  let untracked = 0;
  const stop = [
    effect(() => void values.push(replica.get()?.name)),
    effect(() => void sequences.push(replica.meta().sequence)),
    effect(() => { replica.peek(); replica.peekMeta(); untracked++; }),
  ];
  publish(envelope(2));
  expect(values).toEqual(['v1', 'v2']);
  expect(sequences).toEqual([1, 2]);
  expect(untracked).toBe(1);
  for (const each of stop) each();
});

test('value and meta change together for an effect that reads both', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  const seen: unknown[] = [];
  const stop = effect(() => void seen.push([replica.get()?.name, replica.meta().sequence]));
  publish(envelope(2));
  expect(seen).toEqual([['v1', 1], ['v2', 2]]);
  stop();
});

test('a computed over two replicas is never seen half-way', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  const both = computed(() => `${replica.get()?.name} at ${replica.meta().sequence}`);
  expect(both.value).toBe('v1 at 1');
  publish(envelope(2));
  expect(both.value).toBe('v2 at 2');
});

test('a cell of the application is used, and set once per applied value', () => {
  const sets: unknown[] = [];
  const inner = signal<User | undefined>(undefined);
  const cell: Cell<User | undefined> = {
    get: () => inner.value, peek: () => inner.peek(), set: (value) => { sets.push(value); inner.value = value; },
  };
  const { replica, publish } = setup({ cell, seed: envelope(1) });
  publish(envelope(2));
  publish(envelope(2));
  expect(sets).toEqual([{ name: 'v1' }, { name: 'v2' }]);
  expect(replica.get()).toBe(inner.value);
});

test('the methods work apart from the object, and the counters are live', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  const { get, peek, meta, peekMeta, stats, whenIdle, dispose } = replica;
  publish(envelope(2));
  expect([get(), peek()]).toEqual([{ name: 'v2' }, { name: 'v2' }]);
  expect(meta().sequence + peekMeta().sequence).toBe(4);
  expect({ ...stats }).toMatchObject({ applied: 2 });
  expect(whenIdle()).toBeInstanceOf(Promise);
  dispose();
  expect(stats.applied).toBe(2);
});

// ---- the end

test('dispose ends the subscription, keeps the value, and may be called again', () => {
  const { replica, transport, publish } = setup({ seed: envelope(1) });
  expect(transport.keyCount()).toBe(1);
  replica.dispose();
  replica.dispose();
  expect(transport.keyCount()).toBe(0);
  publish(envelope(2));
  expect(replica.get()).toEqual({ name: 'v1' });
  expect(replica.meta()).toMatchObject({ sequence: 1 });
  expect(replica.stats.applied).toBe(1);
});

test('a snapshot that comes after dispose is not shown; dispose resolves whenIdle', async () => {
  const { calls, refetch } = controlled();
  const { replica, publish } = setup({ seed: envelope(1), refetch });
  publish(envelope(5));
  const idle = replica.whenIdle();
  replica.dispose();
  await idle;
  calls[0]!.resolve(envelope(5));
  await turn();
  expect(replica.get()).toEqual({ name: 'v1' });
});

test('whenIdle resolves at once where nothing is under way', async () => {
  await setup().replica.whenIdle();
});

test('two replicas of a key keep their own gates', () => {
  const transport = new InProcessTransport();
  const strict = createClientReplica({ key: KEY, schema: User, transport });
  const trusting = createClientReplica({ key: KEY, transport });
  transport.publish(KEY, bad(1));
  expect(strict.get()).toBeUndefined();
  expect(trusting.get()).toEqual({ name: 5 });
  strict.dispose();
  trusting.dispose();
});

test('a replica ends with the block that uses it', () => {
  const { replica, transport } = setup({ seed: envelope(1) });
  replica[Symbol.dispose]();
  expect(transport.keyCount()).toBe(0);
});

// ---- what was added

test('subscribe calls with the value now and after every change, until it is ended', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  const seen: unknown[] = [];
  const off = replica.subscribe((value) => seen.push(value?.name));
  publish(envelope(2));
  publish(envelope(2));
  off();
  off();
  publish(envelope(3));
  expect(seen).toEqual(['v1', 'v2']);
});

test('a subscriber that throws robs no other, publish does not throw, and the error event has it', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  const errors: TidewireError[] = [];
  replica.on('error', (error) => errors.push(error));
  const seen: unknown[] = [];
  let broken = false;
  replica.subscribe(() => { if (broken) throw new Error('mine'); });
  replica.subscribe((value) => seen.push(value?.name));
  const stop = effect(() => { replica.get(); if (broken) throw new Error('in an effect'); });
  broken = true;
  expect(() => publish(envelope(2))).not.toThrow();
  expect(seen).toEqual(['v1', 'v2']);
  expect(replica.get()).toEqual({ name: 'v2' });
  expect(errors.map((error) => [error.code, (error.cause as Error).message]).sort()).toEqual([
    ['subscriber_failed', 'in an effect'], ['subscriber_failed', 'mine'],
  ]);
  stop();
});

test('an error that nobody listens for is reported, not thrown', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  const report = vi.spyOn(console, 'error').mockImplementation(() => {});
  let broken = false;
  replica.subscribe(() => { if (broken) throw new Error('mine'); });
  broken = true;
  expect(() => publish(envelope(2))).not.toThrow();
  expect(report).toHaveBeenCalledOnce();
  report.mockRestore();
});

test('publishing inside a subscriber: its value is there when publish returns, its subscribers hear it next, in order', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  const seen: unknown[] = [];
  replica.subscribe((value) => {
    seen.push(`a ${value?.name}`);
    if (value?.name === 'v2') {
      publish(envelope(3));
      seen.push(`now ${replica.peek()?.name}`);
    }
  });
  replica.subscribe((value) => seen.push(`b ${value?.name}`));
  publish(envelope(2));
  expect(seen).toEqual(['a v1', 'b v1', 'a v2', 'now v3', 'b v2', 'a v3', 'b v3']);
});

test('publishing inside an effect converges', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  const seen: unknown[] = [];
  const stop = effect(() => {
    const name = replica.get()?.name;
    seen.push(name);
    if (name === 'v2') publish(envelope(3));
  });
  publish(envelope(2));
  expect(seen).toEqual(['v1', 'v2', 'v3']);
  stop();
});

test('publishing inside a gate is taken up after its verdict', () => {
  const transport = new InProcessTransport();
  let nested = false;
  const schema: TaggedSchema<User> = {
    parse: (value) => {
      if ((value as User).name === 'v2' && !nested) {
        nested = true;
        transport.publish(KEY, envelope(3));
      }
      return { tag: 'Ok', value: value as User };
    },
  };
  const replica = createClientReplica({ key: KEY, schema, transport, seed: envelope(1) });
  transport.publish(KEY, envelope(2));
  expect(replica.get()).toEqual({ name: 'v3' });
  expect(replica.stats).toMatchObject({ applied: 3, gaps: 0, ignoredStale: 0 });
  replica.dispose();
});

test('disposing and unsubscribing inside a callback take effect at once', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  const seen: string[] = [];
  let ready = false;
  const off = replica.subscribe(() => { if (ready) { seen.push('first'); off2(); replica.dispose(); } });
  const off2 = replica.subscribe(() => { if (ready) seen.push('second'); });
  ready = true;
  expect(() => publish(envelope(2))).not.toThrow();
  expect(seen).toEqual(['first']);
  off();
});

test('disposing inside a gate is no accident', () => {
  const transport = new InProcessTransport();
  const replica = createClientReplica<TaggedSchema<User>>({
    key: KEY, transport, schema: { parse: (value) => { replica?.dispose(); return { tag: 'Ok', value: value as User }; } },
  });
  expect(() => transport.publish(KEY, envelope(1))).not.toThrow();
  expect(replica.get()).toBeUndefined();
  expect(transport.keyCount()).toBe(0);
});

test('ready resolves with the first value, and rejects if there will be none', async () => {
  const { replica, publish } = setup();
  const ready = replica.ready();
  publish(envelope(1));
  await ready;
  await replica.ready();
  const other = setup().replica;
  const never = other.ready();
  other.dispose();
  await expect(never).rejects.toMatchObject({ code: 'disposed' });
});

test('refresh asks the authority although nothing is missing', async () => {
  const { calls, refetch } = controlled();
  const { replica } = setup({ seed: envelope(1), refetch });
  const done = replica.refresh();
  expect(calls).toHaveLength(1);
  calls[0]!.resolve(envelope(8));
  await done;
  expect(replica.get()).toEqual({ name: 'v8' });
});

test('prev makes an envelope contiguous that skips numbers', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  publish({ ...envelope(9), prev: 1 });
  expect(replica.get()).toEqual({ name: 'v9' });
  expect(replica.stats.gaps).toBe(0);
});

test('a value is let go of when the next one is shown', () => {
  const { replica, publish } = setup();
  for (let sequence = 1; sequence <= 1000; sequence++) publish(envelope(sequence));
  expect(replica.stats.applied).toBe(1000);
  expect(replica.peek()).toEqual({ name: 'v1000' });
});

test('another major schema version is not applied, another minor is', () => {
  const transport = new InProcessTransport();
  const replica = createClientReplica({ key: KEY, schema: User, transport, schemaVersion: '3.0', seed: envelope(1) });
  transport.publish(KEY, { ...envelope(2), schema_version: '4.0' });
  expect(replica.get()).toEqual({ name: 'v1' });
  expect(replica.stats).toMatchObject({ schemaSkews: 1, parseErrors: 0 });
  transport.publish(KEY, { ...envelope(3), schema_version: '3.9' });
  expect(replica.get()).toEqual({ name: 'v3' });
  expect(replica.meta().schemaVersion).toBe('3.9');
  replica.dispose();
});

test('a gap may be committed instead', () => {
  const transport = new InProcessTransport();
  const replica = createClientReplica({ key: KEY, schema: User, transport, onGap: 'commit', seed: envelope(1) });
  transport.publish(KEY, envelope(9));
  expect(replica.get()).toEqual({ name: 'v9' });
  expect(replica.meta()).toMatchObject({ sequence: 9, status: 'ok' });
  replica.dispose();
});

test('a failed refetch is tried again, unless that is turned off', async () => {
  const transport = new InProcessTransport();
  let calls = 0;
  const refetch = async (): Promise<Envelope> => {
    if (++calls < 3) throw new Error('not yet');
    return envelope(9);
  };
  const trying = createClientReplica({ key: KEY, schema: User, transport, seed: envelope(1), refetch });
  transport.publish(KEY, envelope(9));
  await vi.waitFor(() => expect(trying.get()).toEqual({ name: 'v9' }), { timeout: 10_000 });
  expect(trying.stats).toMatchObject({ refetches: 3, retries: 2 });
  trying.dispose();
  calls = 0;
  const once = createClientReplica({ key: KEY, schema: User, transport, seed: envelope(1), refetch, retry: false });
  transport.publish(KEY, envelope(9));
  await once.whenIdle();
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(calls).toBe(1);
  expect(once.meta().status).toBe('stale');
  once.dispose();
});

test('a value that the gate refuses is announced as quarantined, with the reason', () => {
  const { replica, publish } = setup({ seed: envelope(1) });
  const reasons: string[] = [];
  replica.on('quarantine', (error) => reasons.push(error.message));
  publish(bad(2));
  expect(reasons).toEqual(['name must be a string']);
  expect(replica.stats.quarantined).toBe(1);
});

test('the signal of a refetch aborts when its answer is no longer wanted', () => {
  const { calls, refetch } = controlled();
  const { replica, publish } = setup({ seed: envelope(1), refetch });
  publish(envelope(3));
  expect(calls[0]!.context.signal.aborted).toBe(false);
  replica.dispose();
  expect(calls[0]!.context.signal.aborted).toBe(true);
});

test('values of another epoch wait for a snapshot of it', async () => {
  const transport = new InProcessTransport();
  const { calls, refetch } = controlled();
  const of = (epoch: string, sequence: number): Envelope => ({ ...envelope(sequence), epoch });
  const replica = createClientReplica({ key: KEY, schema: User, transport, seed: of('a', 50), refetch });
  expect(replica.meta().epoch).toBe('a');
  transport.publish(KEY, of('b', 2));
  expect(replica.get()).toEqual({ name: 'v50' });
  expect(calls[0]!.context.position).toEqual({ epoch: 'a', sequence: 50 });
  calls[0]!.resolve(of('b', 2));
  await replica.whenIdle();
  expect(replica.get()).toEqual({ name: 'v2' });
  expect(replica.meta()).toMatchObject({ epoch: 'b', sequence: 2, status: 'ok' });
  replica.dispose();
});

test('ten thousand replicas that come and go leave nothing', () => {
  const transport = new InProcessTransport();
  for (let i = 0; i < 10_000; i++) {
    createClientReplica({ key: `k${i}`, schema: User, transport, seed: envelope(1) }).dispose();
  }
  expect(transport.keyCount()).toBe(0);
});

test('wrong arguments are told at once', () => {
  const transport = new InProcessTransport();
  expect(() => createClientReplica({ key: 5 as never, transport })).toThrow(/`key`/);
  expect(() => createClientReplica({ key: KEY, transport: {} as never })).toThrow(/`transport`/);
  expect(() => createClientReplica({ key: KEY, transport, schemaVersion: 'three' })).toThrow(/`schemaVersion`/);
  expect(() => createClientReplica({ key: KEY, transport, onGap: 'panic' as never })).toThrow(/`onGap`/);
  expect(() => createClientReplica({ key: KEY, transport, schema: 'object' as never })).toThrow(/no schema/);
});
