// Contestant: Tidewire, as built in pkg/dist.

import { connect, createClientReplica, init, InProcessTransport, TidewireError, type Replica, type Schema } from 'tidewire';
import { z } from 'zod';
import type { Open } from './contestant.js';
import { ServerLink } from './server_link.js';
import type { Update } from './wire.js';

// This instance's own: its functions see no other contestant's objects.
export { drive } from './contestant.js';
export { shapes } from './records.js';

export const open: Open = async (entry, shape, first, keys) => {
  let calls = 0;
  const schema = ((): Schema | undefined => {
    switch (entry.gate) {
      case 'zod': {
        // Counts the calls, to say afterwards whether the gate ran in JavaScript.
        const standard = shape.schema['~standard'] as { validate: (value: unknown) => unknown };
        const { validate } = standard;
        standard.validate = (value) => {
          calls++;
          return validate(value);
        };
        return shape.schema;
      }
      case 'json-schema':
        // As a document alone: zod's own carries a validator with it.
        return JSON.parse(JSON.stringify(z.toJSONSchema(shape.schema))) as never;
      case 'hand': return {
        parse: (value: unknown) => shape.check(value) ? { tag: 'Ok', value } : { tag: 'Err', error: 'refused' },
      } as Schema;
      case 'none': return undefined;
    }
  })();
  // A gate that is compiled may ask the library about a sample; one that is not asks it about every value.
  const gateRan = (): 'compiled' | 'in JavaScript' | 'none' =>
    schema === undefined ? 'none' : entry.gate === 'hand' || calls > keys.length ? 'in JavaScript' : 'compiled';

  if (entry.codec === 'objects') {
    await init();
    const transport = new InProcessTransport();
    const replicas = keys.map((key, i) => createClientReplica({
      key, transport, schema: schema as never, seed: { value: first[i]!.value, schema_version: '1.0', sequence: first[i]!.sequence },
    }));
    return {
      receive(frame) {
        for (const { index, sequence, value } of frame as readonly Update[]) {
          transport.publish(keys[index]!, { value, schema_version: '1.0', sequence });
        }
      },
      read: (index) => replicas[index]!.get(),
      gateRan,
      close: () => replicas.forEach((replica) => replica.dispose()),
    };
  }

  const byKey = new Map(keys.map((key, i) => [key, first[i]!]));
  const link = new ServerLink((key) => byKey.get(key));
  const client = await connect({ link: () => link });
  let replicas: Replica<unknown>[];
  try {
    replicas = keys.map((key) => client.synced(key, schema as never) as Replica<unknown>);
  } catch (error) {
    client.close();
    if (error instanceof TidewireError && error.code === 'unsupported_schema') return undefined;
    throw error;
  }
  await Promise.all(replicas.map((replica) => replica.ready()));
  return {
    receive: (frame) => link.deliver(frame),
    read: (index) => replicas[index]!.get(),
    gateRan,
    close: () => client.close(),
  };
};
