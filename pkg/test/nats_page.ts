// A page that speaks NATS by itself: what the test asks of it, by name.

import { wsconnect } from '@nats-io/nats-core';
import { createClientReplica, type Envelope, type Replica } from 'tidewire';
import { jsonCodec, msgpackCodec, natsConnection, NatsTransport } from 'tidewire/nats';
import { describeTransport } from './conformance.js';
import { runPlanned } from './page_vitest.js';

export interface NatsPage {
  join(url: string): Promise<void>;
  /** Follows a key; its refetch is answered by what `snapshot` last said. */
  follow(key: string): Promise<void>;
  publish(key: string, sequence: number): void;
  snapshot(sequence: number): void;
  shown(): { sequence: number; id: string | undefined; status: string; keys: number; gaps: number };
  leave(): Promise<number>;
  /** Runs the suite of all transports. */
  conformance(url: string): Promise<{ checks: number; faults: string[] }>;
}

interface Value { id: bigint }

const envelope = (sequence: number): Envelope => ({ value: { id: 2n ** 60n + BigInt(sequence) }, schema_version: '1.0', sequence });

let nats: Awaited<ReturnType<typeof wsconnect>>;
let transport: NatsTransport;
let replica: Replica<Value>;
let current: Envelope | null = null;

const page: NatsPage = {
  async join(url) {
    nats = await wsconnect({ servers: url, reconnectTimeWait: 50, maxReconnectAttempts: -1 });
    transport = new NatsTransport({ connection: natsConnection(nats), codec: msgpackCodec });
  },
  async follow(key) {
    replica = createClientReplica<Value>({ key, transport, refetch: () => current });
    await nats.flush();
  },
  publish: (key, sequence) => transport.publish(key, envelope(sequence)),
  snapshot: (sequence) => void (current = envelope(sequence)),
  shown: () => ({
    sequence: replica.meta().sequence, id: replica.get()?.id.toString(), status: replica.meta().status, keys: transport.keyCount(), gaps: replica.stats.gaps,
  }),
  async leave() {
    replica.dispose();
    const keys = transport.keyCount();
    await nats.close();
    return keys;
  },
  async conformance(url) {
    for (const [name, codec] of Object.entries({ MessagePack: msgpackCodec, JSON: jsonCodec })) {
      describeTransport(`NATS in ${name}`, () => {
        const made: (() => Promise<void>)[] = [];
        return {
          async transport() {
            const connection = await wsconnect({ servers: url });
            const own = new NatsTransport({ connection: natsConnection(connection), codec });
            made.push(async () => { own.close(); await connection.close(); });
            return own;
          },
          stop: async () => void await Promise.all(made.map((close) => close())),
        };
      });
    }
    return runPlanned();
  },
};

(globalThis as { natsPage?: NatsPage }).natsPage = page;
