// Contestant: the JS twin, with each gate and codec.

import {
  type AnswerMessage, type EnvelopeMessage, REFUSED, TwinClient, type TwinGate, twinReplica, TwinTransport,
} from '../../pkg/bench/twin.js';
import type { Entry, Open, Session } from './contestant.js';
import type { AnyShape } from './records.js';
import { type Frame, snapshots, unpack, type Update } from './wire.js';

// This instance's own: its functions see no other contestant's objects.
export { drive } from './contestant.js';
export { shapes } from './records.js';

function gateOf(entry: Entry, shape: AnyShape): TwinGate | undefined {
  switch (entry.gate) {
    case 'zod': {
      const { schema } = shape;
      return (value) => {
        const result = schema.safeParse(value);
        return result.success ? result.data : REFUSED;
      };
    }
    case 'hand': return (value) => shape.check(value) ? value : REFUSED;
    default: return undefined;
  }
}

/** Keeps the objects that the frames were written from. */
function floor(first: readonly Update[]): Session {
  const values = first.map(({ value }) => value);
  return {
    receive(frame) {
      const updates = frame as readonly Update[];
      for (let i = 0; i < updates.length; i++) values[updates[i]!.index] = updates[i]!.value;
    },
    read: (index) => values[index],
    gateRan: () => 'none',
    close() {},
  };
}

type Messages = readonly (EnvelopeMessage | AnswerMessage)[];

export const open: Open = async (entry, shape, first, keys) => {
  if (entry.id === 'floor') return floor(first);
  const gate = gateOf(entry, shape);
  const gateRan = () => gate === undefined ? 'none' as const : 'in JavaScript' as const;
  if (entry.codec === 'objects') {
    const transport = new TwinTransport();
    const replicas = keys.map((key, i) => twinReplica(transport, key, gate, {
      value: first[i]!.value, schema_version: '1.0', sequence: first[i]!.sequence,
    }));
    return {
      receive(frame) {
        for (const { index, sequence, value } of frame as readonly Update[]) {
          transport.publish(keys[index]!, { value, schema_version: '1.0', sequence });
        }
      },
      read: (index) => replicas[index]!.get(),
      gateRan,
      close() {},
    };
  }
  const client = entry.codec === 'json'
    ? new TwinClient<Frame>((frame) => JSON.parse(frame as string) as Messages)
    : new TwinClient<Frame>((frame) => unpack(frame as Uint8Array) as Messages);
  const replicas = keys.map((key) => client.subscribe(key, gate));
  client.receive(snapshots(entry.codec as 'json', first, first.map((_, i) => i)));
  return {
    receive: (frame) => client.receive(frame),
    read: (index) => replicas[index]!.get(),
    gateRan,
    close() {},
  };
};
