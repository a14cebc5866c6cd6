import { expect, test } from 'vitest';
import { type Envelope, InProcessTransport, NatsTransport } from 'tidewire';

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

const kinds = {
  InProcessTransport: () => new InProcessTransport(),
  NatsTransport: () => new NatsTransport({ connection: bus() }),
};

for (const [name, create] of Object.entries(kinds)) {
  test(`${name} delivers to every subscriber of the key, in the order of subscription, at once`, () => {
    const transport = create();
    const heard: string[] = [];
    transport.subscribe('a', (e) => heard.push(`first ${e.sequence}`));
    transport.subscribe('a', (e) => heard.push(`second ${e.sequence}`));
    transport.subscribe('b', (e) => heard.push(`other ${e.sequence}`));
    transport.publish('a', envelope(1));
    expect(heard).toEqual(['first 1', 'second 1']);
  });

  test(`${name} hands over the very envelope that was published`, () => {
    const transport = create();
    const sent = envelope(1);
    let got: Envelope | undefined;
    transport.subscribe('a', (e) => { got = e; });
    transport.publish('a', sent);
    expect(got).toBe(sent);
  });

  test(`${name} retains nothing: who subscribes later hears only what comes later`, () => {
    const transport = create();
    const heard: number[] = [];
    transport.publish('a', envelope(1));
    transport.subscribe('a', (e) => heard.push(e.sequence));
    transport.publish('a', envelope(2));
    expect(heard).toEqual([2]);
  });

  test(`${name} removes no duplicates and checks nothing`, () => {
    const transport = create();
    const heard: unknown[] = [];
    transport.subscribe('a', (e) => heard.push(e));
    const odd = { sequence: -3 } as Envelope;
    transport.publish('a', odd);
    transport.publish('a', odd);
    expect(heard).toEqual([odd, odd]);
  });

  test(`${name} publishes to nobody without complaint`, () => {
    expect(() => create().publish('nobody', envelope(1))).not.toThrow();
  });

  test(`${name}: unsubscribing twice does not remove a handler that subscribed again`, () => {
    const transport = create();
    const heard: number[] = [];
    const handler = (e: Envelope): void => void heard.push(e.sequence);
    const off = transport.subscribe('a', handler);
    off();
    transport.subscribe('a', handler);
    off();
    transport.publish('a', envelope(1));
    expect(heard).toEqual([1]);
  });

  test(`${name}: a handler that leaves during a delivery ends only its own; one that joins waits for the next`, () => {
    const transport = create();
    const heard: string[] = [];
    let joined = false;
    const off = transport.subscribe('a', () => {
      heard.push('first');
      off();
      if (!joined) transport.subscribe('a', () => heard.push('late'));
      joined = true;
    });
    transport.subscribe('a', () => heard.push('second'));
    transport.publish('a', envelope(1));
    expect(heard).toEqual(['first', 'second']);
    transport.publish('a', envelope(2));
    expect(heard).toEqual(['first', 'second', 'second', 'late']);
  });

  test(`${name}: the key count goes back to zero with the last subscriber`, () => {
    const transport = create();
    const offs = ['a', 'a', 'b'].map((key) => transport.subscribe(key, () => {}));
    expect(transport.keyCount()).toBe(2);
    offs[0]!();
    expect(transport.keyCount()).toBe(2);
    offs[1]!();
    offs[2]!();
    expect(transport.keyCount()).toBe(0);
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
