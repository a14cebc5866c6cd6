// The transports: the suite that all of them pass, and what each has of its own.

import { WebSocket } from 'ws';
import { describe, expect, test } from 'vitest';
import { connect, createClientReplica, type Envelope, InProcessTransport, type Link, NatsTransport, type TidewireError, WebSocketTransport } from 'tidewire';
import { ReferenceServer } from 'tidewire/server';
import { ENGINES, PageServer } from './browsers.js';
import { describeTransport } from './conformance.js';
import { NativeServer, SERVER_BIN } from './native.js';
import { until } from './support.js';

const envelope = (sequence: number): Envelope => ({ value: { sequence }, schema_version: '1.0', sequence });

/** A bus in memory that counts its subscriptions. */
function bus() {
  const subjects = new Map<string, Set<(payload: Uint8Array) => void>>();
  return {
    subjects,
    publish(subject: string, payload: Uint8Array) {
      for (const each of subjects.get(subject) ?? []) each(payload);
    },
    subscribe(subject: string, onMessage: (payload: Uint8Array) => void) {
      let set = subjects.get(subject);
      if (set === undefined) subjects.set(subject, (set = new Set()));
      set.add(onMessage);
      return () => {
        set.delete(onMessage);
        if (set.size === 0) subjects.delete(subject);
      };
    },
  };
}

describeTransport('plain calls', () => {
  const transport = new InProcessTransport();
  return { transport: async () => transport, stop() {} };
});

describeTransport('a bus in memory', () => {
  const connection = bus();
  return { transport: async () => new NatsTransport({ connection }), stop() {} };
});

describeTransport('the server in the page', async () => {
  const server = await ReferenceServer.create();
  const made: WebSocketTransport[] = [];
  return {
    async transport() {
      const transport = await WebSocketTransport.connect(server);
      made.push(transport);
      return transport;
    },
    stop() {
      for (const transport of made) transport.close();
      server.close();
    },
  };
});

if (SERVER_BIN !== undefined) {
  describeTransport('a WebSocket to the native server', async () => {
    const server = await NativeServer.start();
    const made: WebSocketTransport[] = [];
    return {
      async transport() {
        const transport = await WebSocketTransport.connect(server.url, { WebSocket });
        made.push(transport);
        return transport;
      },
      async stop() {
        for (const transport of made) transport.close();
        await server.stop();
      },
    };
  });
}

if (SERVER_BIN !== undefined) describe('the same in a page', () => {
  for (const engine of ENGINES) {
    test(`in ${engine}`, async () => {
      const page = await PageServer.start('conformance_page.ts', { vitest: 'page_vitest.ts' });
      try {
        const { checks, faults } = await page.run(engine);
        expect(faults).toEqual([]);
        expect(checks).toBeGreaterThan(40);
      } finally {
        await page.stop();
      }
    }, 90_000);
  }
});

const synchronous = {
  InProcessTransport: () => new InProcessTransport(),
  NatsTransport: () => new NatsTransport({ connection: bus() }),
};

for (const [name, create] of Object.entries(synchronous)) {
  test(`${name} hands over the very envelope that was published, at once`, () => {
    const transport = create();
    const sent = envelope(1);
    let got: Envelope | undefined;
    transport.subscribe('a', (each) => { got = each; });
    transport.publish('a', sent);
    expect(got).toBe(sent);
  });

  test(`${name} checks nothing`, () => {
    const transport = create();
    const heard: unknown[] = [];
    transport.subscribe('a', (each) => heard.push(each));
    const odd = { sequence: -3 } as Envelope;
    transport.publish('a', odd);
    expect(heard).toEqual([odd]);
  });
}

test('NatsTransport shares one bus subscription among the local subscribers of a key', () => {
  const connection = bus();
  const transport = new NatsTransport({ connection });
  const one = transport.subscribe('user:1', () => {});
  const two = transport.subscribe('user:1', () => {});
  expect(connection.subjects.get('synced.user:1')?.size).toBe(1);
  one();
  expect(connection.subjects.size).toBe(1);
  two();
  expect(connection.subjects.size).toBe(0);
});

test('NatsTransport uses the codec and the subject that it is given', () => {
  const connection = bus();
  const payloads: Uint8Array[] = [];
  connection.subscribe('app/user:1', (payload) => payloads.push(payload));
  const transport = new NatsTransport({
    connection,
    subjectOf: (key) => `app/${key}`,
    codec: {
      encode: (e) => new TextEncoder().encode(JSON.stringify(e)),
      decode: (payload) => JSON.parse(new TextDecoder().decode(payload)) as Envelope,
    },
  });
  let got: Envelope | undefined;
  transport.subscribe('user:1', (e) => { got = e; });
  transport.publish('user:1', envelope(7));
  expect(payloads[0]).toBeInstanceOf(Uint8Array);
  expect(got).toEqual(envelope(7));
});

test('NatsTransport without a connection says what it lacks', () => {
  expect(() => new NatsTransport({} as never)).toThrow('NatsTransport requires a connection');
});

/** Links to a server in the page that can be cut. */
function cuttable(server: ReferenceServer): { links: Link[]; link(): Link; cut(): void } {
  const links: Link[] = [];
  return {
    links,
    link: () => {
      const link = server.link();
      links.push(link);
      return link;
    },
    cut() {
      const link = links.at(-1)!;
      const { onclose } = link;
      link.close();
      onclose?.({ code: 1006, reason: '' });
    },
  };
}

describe('WebSocketTransport', () => {
  test('shares the session of the client that it is given, and leaves it open', async () => {
    const server = await ReferenceServer.create();
    const client = await connect(server);
    const transport = new WebSocketTransport(client);
    const heard: number[] = [];
    transport.subscribe('a', (each) => heard.push(each.sequence));
    transport.publish('a', envelope(1));
    await until(() => heard.length === 1, 'the envelope');
    transport.close();
    expect(transport.keyCount()).toBe(0);
    await client.put('user:1', 1);
    expect(client.peekStatus().state).toBe('live');
    client.close();
    expect(() => transport.publish('a', envelope(2))).toThrow(/closed/);
    expect(() => new WebSocketTransport({} as never)).toThrow(/no client/);
    server.close();
  });

  test('tells why an envelope was refused: the key is the authority\'s', async () => {
    const server = await ReferenceServer.create();
    server.put('user:1', { name: 'Ada' });
    const errors: [string, string][] = [];
    const transport = await WebSocketTransport.connect(server, { onError: (error, key) => errors.push([error.code, key]) });
    transport.publish('user:1', envelope(1));
    await until(() => errors.length === 1, 'the refusal');
    expect(errors).toEqual([['conflict', 'user:1']]);
    transport.close();
    server.close();
  });

  test('says at once what cannot be sent', async () => {
    const server = await ReferenceServer.create();
    const transport = await WebSocketTransport.connect(server);
    const code = (run: () => void): string | undefined => {
      try {
        run();
        return undefined;
      } catch (error) {
        return (error as TidewireError).code;
      }
    };
    expect(code(() => transport.publish('a', { value: 1, sequence: -3 }))).toBe('invalid_argument');
    expect(code(() => transport.publish('a', { value: 1, sequence: 1, prev: 0.5 }))).toBe('invalid_argument');
    expect(code(() => transport.publish('a', { value: 1, sequence: 1, epoch: 'one' }))).toBe('invalid_argument');
    expect(code(() => transport.publish('a', { value: () => 1, sequence: 1 }))).toBe('unencodable');
    expect(code(() => void transport.subscribe('', () => {}))).toBe('invalid_argument');
    expect(code(() => void transport.subscribe('\ud800', () => {}))).toBe('invalid_argument');
    await expect(transport.ready('nobody')).rejects.toMatchObject({ code: 'invalid_argument' });
    expect(transport.keyCount()).toBe(0);
    transport.close();
    server.close();
  });

  test('after a lost connection it follows again by itself, and what was published meanwhile goes out', async () => {
    const server = await ReferenceServer.create();
    const source = cuttable(server);
    const [here, there] = [await WebSocketTransport.connect(source), await WebSocketTransport.connect(server)];
    const heard: number[] = [];
    here.subscribe('a', (each) => heard.push(each.sequence));
    await here.ready('a');
    source.cut();
    const again = here.ready('a');
    there.publish('a', envelope(1));
    here.publish('a', envelope(2));
    await again;
    expect(source.links.length).toBe(2);
    there.publish('a', envelope(3));
    await until(() => heard.includes(3), 'the third');
    // What the other published while there was no connection is lost: a pipe retains nothing.
    expect(heard).toEqual([2, 3]);
    here.close();
    there.close();
    server.close();
  });

  test('a replica over it notices what a lost connection cost, and refetches', async () => {
    const server = await ReferenceServer.create();
    const source = cuttable(server);
    const [here, there] = [await WebSocketTransport.connect(source), await WebSocketTransport.connect(server)];
    const replica = createClientReplica({ key: 'a', transport: here, seed: envelope(1), refetch: async () => envelope(3) });
    await here.ready('a');
    source.cut();
    there.publish('a', envelope(2));
    await here.ready('a');
    there.publish('a', envelope(3));
    await until(() => replica.peekMeta().sequence === 3, 'the recovery');
    expect(replica.stats).toMatchObject({ gaps: 1, refetches: 1 });
    replica.dispose();
    here.close();
    there.close();
    server.close();
  });
});
