// The tap says what became of every envelope: by what the replica counts, never by a guess of its own.

import { afterEach, describe, expect, test } from 'vitest';
import { type Client, connect, createClientReplica, type Envelope, InProcessTransport, type Link } from 'tidewire';
import { type Happening, readFrame, Tap } from 'tidewire/inspector';
import { ReferenceServer } from 'tidewire/server';
import { turn, until } from './support.js';

const clients: Client[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

/** A tapped replica over a transport, and what is heard of it. */
function tapped(options: { schema?: { type: 'string' }; refetch?: () => Promise<Envelope | null>; schemaVersion?: string } = {}) {
  const transport = new InProcessTransport();
  const tap = new Tap();
  const heard: Happening[] = [];
  const replica = createClientReplica({ key: 'k', transport: tap.transport(transport), ...options } as never);
  tap.watch('k', replica);
  tap.on((happening) => heard.push(happening));
  const publish = (sequence: number, value: unknown = `v${sequence}`, more: Partial<Envelope> = {}): void => transport.publish('k', { value, sequence, ...more });
  const said = (): string[] => heard.splice(0).map(({ outcome, sequence }) => `${sequence ?? '-'} ${outcome}`);
  return { replica, tap, publish, said, heard };
}

describe('over a transport', () => {
  test('what is next is applied, what is old is ignored, and both say why', () => {
    const { publish, heard } = tapped();
    for (const sequence of [1, 2, 1]) publish(sequence);
    expect(heard.map(({ outcome, sequence, reason }) => [outcome, sequence, reason])).toEqual([
      ['applied', 1, 'Sequence 1 follows 0: it is shown.'],
      ['applied', 2, 'Sequence 2 follows 1: it is shown.'],
      ['ignored', 1, 'Sequence 1 is not beyond 2: this copy has been here, so nothing changes.'],
    ]);
  });

  test('a gap is held back and asked about; the answer brings both', async () => {
    const { replica, tap, publish, said } = tapped({ refetch: async () => ({ value: 'three', sequence: 3 }) });
    publish(1);
    said();
    publish(4);
    expect(said()).toEqual(['4 gap', '- refetch']);
    await replica.whenIdle();
    await turn();
    tap.look();
    expect(said()).toEqual(['4 applied']);
    expect(replica.peek()).toBe('v4');
  });

  test('what closes a gap also brings what waited behind it', () => {
    const { publish, said } = tapped();
    for (const sequence of [1, 3]) publish(sequence);
    said();
    publish(2);
    expect(said()).toEqual(['2 applied', '3 applied']);
  });

  test('a value that the gate refuses is quarantined, with the gate\'s reason', () => {
    const { publish, heard } = tapped({ schema: { type: 'string' } });
    publish(1);
    publish(2, 7);
    expect(heard.at(-1)).toMatchObject({ outcome: 'quarantined', sequence: 2, reason: expect.stringContaining('breaks "type"') });
    publish(3);
    expect(heard.at(-1)).toMatchObject({ outcome: 'applied', sequence: 3 });
  });

  test('a value of another major version is quarantined as that', () => {
    const { publish, heard } = tapped({ schemaVersion: '3.0' });
    publish(1, 'x', { schema_version: '3.1' });
    publish(2, 'y', { schema_version: '4.0' });
    expect(heard.at(-1)).toMatchObject({ outcome: 'quarantined', sequence: 2, reason: expect.stringContaining('schema version') });
  });

  test('for every envelope there is one happening of its own, in any order of arrival', () => {
    const { publish, said, replica } = tapped();
    const order = [1, 2, 4, 3, 3, 2, 7, 6, 5, 8, 8];
    const all: string[] = [];
    for (const sequence of order) {
      publish(sequence);
      all.push(...said());
    }
    const count = (outcome: string): number => all.filter((each) => each.endsWith(outcome)).length;
    expect(count('ignored')).toBe(replica.stats.ignoredStale);
    expect(count('gap')).toBe(replica.stats.gaps);
    expect(replica.peek()).toBe('v8');
  });
});

describe('over a link', () => {
  test('the frames say which envelope it was, for each key alone', async () => {
    const server = await ReferenceServer.create();
    const tap = new Tap();
    const client = await connect(tap.through(server));
    clients.push(client);
    const heard: Happening[] = [];
    tap.on((happening) => heard.push(happening));
    const one = client.synced('one');
    tap.watch('one', one);
    tap.watch('two', client.synced('two'));
    await until(() => client.peekStatus().state === 'live', 'live');
    await turn();
    server.put('one', 'a');
    server.put('one', 'b');
    server.put('two', 'c');
    await until(() => heard.length >= 3, 'three happenings');
    expect(heard.map(({ key, outcome, sequence }) => `${key} ${sequence} ${outcome}`)).toEqual(['one 1 applied', 'one 2 applied', 'two 1 applied']);
    expect(one.peek()).toBe('b');
  });

  test('a lost envelope is a gap when the next one comes, and the answer closes it', async () => {
    const server = await ReferenceServer.create();
    const tap = new Tap();
    let lose = false;
    const client = await connect(tap.through({ link: () => losing(server.link(), () => lose) }));
    clients.push(client);
    const replica = client.synced('k');
    tap.watch('k', replica);
    const heard: string[] = [];
    tap.on(({ outcome }) => heard.push(outcome));
    server.put('k', 1);
    await until(() => replica.peek() === 1, 'the first');
    lose = true;
    server.put('k', 2);
    await turn();
    lose = false;
    server.put('k', 3);
    await until(() => replica.peek() === 3 && replica.peekMeta().status === 'ok', 'the last');
    expect(heard.slice(-4)[0]).toMatch(/applied|gap/);
    expect(heard).toContain('gap');
    expect(heard).toContain('refetch');
    expect(heard.at(-1)).toBe('applied');
  });

  test('what happened without a frame is found by looking', async () => {
    const { tap, replica, said } = tapped({ refetch: async () => ({ value: 'v', sequence: 9 }) });
    await replica.refresh();
    tap.look();
    expect(said()).toEqual(['9 applied', '- refetch']);
  });
});

test('a frame is read as far as it can be, whatever its bytes are', () => {
  expect(readFrame(Uint8Array.of(0x92, 7, 0xc0, 0x91, 71))).toEqual([
    { kind: 7, fields: [null], start: 0, end: 3 },
    { kind: 71, fields: [], start: 3, end: 5 },
  ]);
  expect(readFrame(Uint8Array.of(0x91, 7, 0xc1))).toHaveLength(1);
  expect(readFrame(Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff))).toEqual([]);
  expect(readFrame(new Uint8Array(1_000_000).fill(0x91))).toEqual([]);
});

/** A link that loses whole frames with envelopes in them while `isLosing`. */
function losing(inner: Link, isLosing: () => boolean): Link {
  const link: Link = {
    bufferedAmount: 0, onopen: null, onmessage: null, onclose: null, onerror: null,
    send: (bytes) => inner.send(bytes),
    close: (code, reason) => inner.close(code, reason),
  };
  inner.onmessage = (event) => {
    if (!(isLosing() && readFrame(event.data).some(({ kind }) => kind === 67))) link.onmessage?.(event);
  };
  inner.onclose = (event) => link.onclose?.(event);
  return link;
}
