// The transport over a real nats-server: by TCP and by WebSocket, with the official client.

import { wsconnect } from '@nats-io/nats-core';
import { connect as tcpConnect } from '@nats-io/transport-node';
import { WebSocket } from 'ws';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createClientReplica, type Envelope, NatsTransport as NatsTransportOfMain } from 'tidewire';
import { jsonCodec, msgpackCodec, natsConnection, NatsTransport, type TidewireError } from 'tidewire/nats';
import { describeTransport } from './conformance.js';
import { NatsServer } from './nats_server.js';
import { until } from './support.js';

type Official = Awaited<ReturnType<typeof wsconnect>>;

const RECONNECT = { reconnectTimeWait: 50, maxReconnectAttempts: -1 };
const envelope = (sequence: number, value: unknown = { n: sequence }): Envelope => ({ value, schema_version: '1.0', sequence });

let server: NatsServer;

beforeAll(async () => {
  // Node has no WebSocket of its own before version 22.
  globalThis.WebSocket ??= WebSocket as never;
  server = await NatsServer.start();
});
afterAll(() => server?.stop());

const dials: [string, () => Promise<Official>][] = [
  ['TCP', () => tcpConnect({ servers: server.url, ...RECONNECT })],
  ['WebSocket', () => wsconnect({ servers: server.webSocketUrl, ...RECONNECT })],
];

/** One process's transport, and what it was told of errors. */
async function joined(dial: () => Promise<Official>, codec = msgpackCodec) {
  const nats = await dial();
  const errors: [TidewireError, string | undefined][] = [];
  const transport = new NatsTransport({ connection: natsConnection(nats), codec, onError: (...error) => errors.push(error) });
  return {
    nats, transport, errors,
    async leave() {
      transport.close();
      await nats.close();
    },
  };
}

for (const [name, dial] of dials) {
  for (const [codecName, codec] of Object.entries({ MessagePack: msgpackCodec, JSON: jsonCodec })) {
    describeTransport(`NATS by ${name}, in ${codecName}`, () => {
      const made: { leave(): Promise<void> }[] = [];
      return {
        async transport() {
          const nats = await dial();
          const transport = new NatsTransport({ connection: natsConnection(nats), codec });
          made.push({ leave: async () => { transport.close(); await nats.close(); } });
          return transport;
        },
        stop: async () => void await Promise.all(made.map((each) => each.leave())),
      };
    });
  }
}

describe.each(dials)('NATS by %s', (_, dial) => {
  test('carries envelopes from one process to another, in order, with integers of 64 bits and binary data', async () => {
    const [writer, reader] = [await joined(dial), await joined(dial)];
    const heard: Envelope[] = [];
    reader.transport.subscribe('user:1', (e) => heard.push(e));
    await reader.nats.flush();
    const sent = Array.from({ length: 100 }, (_, i) => envelope(i, { id: 2n ** 60n + BigInt(i), bytes: Uint8Array.of(i) }));
    for (const each of sent) writer.transport.publish('user:1', each);
    await until(() => heard.length === 100, 'all envelopes');
    expect(heard).toEqual(sent);
    await Promise.all([writer.leave(), reader.leave()]);
  });

  test('carries the envelopes of every key to that key alone, whatever it looks like', async () => {
    const { transport, nats, errors, leave } = await joined(dial, jsonCodec);
    const keys = ['a', 'a b', 'a.b', 'a..b', '*', '>', 'a.*', 'a.>', '$JS.API.INFO', '_INBOX.x', '', '%', 'é ü', '\r\nPUB x 1\r\n', 'x'.repeat(1024), ' '.repeat(1024)];
    const heard = new Map<string, unknown[]>(keys.map((key) => [key, []]));
    for (const key of keys) transport.subscribe(key, ({ value }) => heard.get(key)!.push(value));
    await nats.flush();
    for (const key of keys) transport.publish(key, envelope(1, `for ${key}`));
    await until(() => [...heard.values()].every((values) => values.length > 0), 'one each');
    await nats.flush();
    for (const key of keys) expect(heard.get(key)).toEqual([`for ${key}`]);
    expect(errors).toEqual([]);
    await leave();
  });

  test('a payload that is no envelope, and a handler that throws, rob nobody of what comes next', async () => {
    const { transport, nats, errors, leave } = await joined(dial);
    const heard: number[] = [];
    const failure = new Error('mine');
    const reported: unknown[] = [];
    vi.stubGlobal('reportError', (error: unknown) => void reported.push(error));
    transport.subscribe('k', () => { throw failure; });
    transport.subscribe('k', (e) => heard.push(e.sequence));
    await nats.flush();
    nats.publish('synced.k', 'no MessagePack');
    nats.publish('synced.k', new Uint8Array(0));
    transport.publish('k', envelope(5));
    await until(() => heard.length === 1, 'the good one');
    expect(heard).toEqual([5]);
    expect(errors.map(([{ code }, key]) => [code, key])).toEqual([['malformed_value', 'k'], ['malformed_value', 'k']]);
    expect(reported).toEqual([failure]);
    vi.unstubAllGlobals();
    await leave();
  });

  test('a replica recovers by a refetch after the server was gone, though nothing is published any more', async () => {
    const [writer, reader] = [await joined(dial), await joined(dial)];
    let current = envelope(1);
    const replica = createClientReplica({ key: 'user:2', transport: reader.transport, refetch: async () => current });
    await reader.nats.flush();
    writer.transport.publish('user:2', current);
    await until(() => replica.meta().sequence === 1, 'the first value');
    await server.kill();
    // Written while nobody could hear of it.
    current = envelope(9);
    await server.start();
    await until(() => replica.meta().sequence === 9, 'the recovery', 10_000);
    expect(replica.get()).toEqual({ n: 9 });
    expect(replica.meta().status).toBe('ok');
    // And its subscription is alive again.
    await until(() => !writer.nats.isClosed(), 'the writer');
    await writer.nats.flush().catch(() => {});
    await until(() => {
      try {
        writer.transport.publish('user:2', envelope(10));
      } catch { /* not connected yet */ }
      return replica.meta().sequence === 10;
    }, 'the next one', 10_000);
    replica.dispose();
    expect(reader.transport.keyCount()).toBe(0);
    await Promise.all([writer.leave(), reader.leave()]);
  });
});

test('what the server does not permit is told, and stops nothing else', async () => {
  const strict = await NatsServer.start(`
    authorization { users = [ { user: u, password: p, permissions: { publish: ["synced.open"], subscribe: ["synced.open", "_INBOX.>"] } } ] }
  `);
  const nats = await tcpConnect({ servers: strict.url, user: 'u', pass: 'p', ...RECONNECT });
  const errors: [string, string | undefined][] = [];
  const transport = new NatsTransport({ connection: natsConnection(nats), codec: msgpackCodec, onError: ({ code }, key) => errors.push([code, key]) });
  const heard: number[] = [];
  transport.subscribe('secret', () => {});
  transport.subscribe('open', (e) => heard.push(e.sequence));
  await until(() => errors.some(([code, key]) => code === 'refused' && key === 'secret'), 'the refused subscription');
  transport.publish('secret', envelope(1));
  transport.publish('open', envelope(2));
  await until(() => heard.length === 1 && errors.some(([, key]) => key === undefined), 'the refused publish');
  expect(heard).toEqual([2]);
  transport.close();
  await nats.close();
  await strict.stop();
});

test('a closed transport says so, and leaves the connection open', async () => {
  const { transport, nats } = await joined(dials[0]![1]);
  const heard: number[] = [];
  transport.subscribe('k', (e) => heard.push(e.sequence));
  transport.close();
  transport.close();
  expect(transport.keyCount()).toBe(0);
  expect(() => transport.publish('k', envelope(1))).toThrow('the transport is closed');
  expect(() => transport.subscribe('k', () => {})).toThrow('the transport is closed');
  const other = new NatsTransport({ connection: natsConnection(nats), codec: msgpackCodec });
  other.publish('k', envelope(1));
  await nats.flush();
  expect(heard).toEqual([]);
  expect(nats.isClosed()).toBe(false);
  await nats.close();
});

test('local subscribers share one bus subscription and one decoding', async () => {
  const nats = await dials[0]![1]();
  let decoded = 0;
  const codec = { encode: msgpackCodec.encode, decode: (payload: Uint8Array) => { decoded++; return msgpackCodec.decode(payload); } };
  const transport = new NatsTransport({ connection: natsConnection(nats), codec });
  const heard: Envelope[] = [];
  const offs = Array.from({ length: 50 }, () => transport.subscribe('k', (e) => heard.push(e)));
  await nats.flush();
  expect(transport.keyCount()).toBe(1);
  transport.publish('k', envelope(1));
  await until(() => heard.length === 50, 'all of them');
  expect(decoded).toBe(1);
  expect(new Set(heard).size).toBe(1);
  expect(nats.stats().inMsgs).toBe(1);
  for (const off of offs) off();
  expect(transport.keyCount()).toBe(0);
  transport.publish('k', envelope(2));
  await nats.flush();
  expect(nats.stats().inMsgs).toBe(1);
  await nats.close();
});

test('the transport of `tidewire` is the same one', () => {
  expect(NatsTransportOfMain.subjectOf('a b')).toBe(NatsTransport.subjectOf('a b'));
});
