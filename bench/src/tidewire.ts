// Contestant: Tidewire, as built in pkg/dist.

import { type Client, connect, createClientReplica, init, InProcessTransport, type Replica, type Schema, TidewireError } from 'tidewire';
import { z } from 'zod';
import type { Entry, Open } from './contestant.js';
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
  const link = new ServerLink({ object: (key) => byKey.get(key)!, records: () => first });
  const client = await connect({ link: () => link });
  const read = await follow(client, entry, schema, keys).catch((error: unknown) => {
    client.close();
    if (error instanceof TidewireError && error.code === 'unsupported_schema') return undefined;
    throw error;
  });
  return read && { receive: (frame) => link.deliver(frame), read, gateRan, close: () => client.close() };
};

/** Opens a replica for each key, or the one datastore that holds them all. Returns how to read. */
async function follow(
  client: Client, entry: Entry, schema: Schema | undefined, keys: readonly string[],
): Promise<(index: number) => unknown> {
  if (entry.codec === 'records') {
    const items = client.datastore('items', schema as never, { kind: 'permanent' });
    await items.ready();
    return (index) => items.get(keys[index]!);
  }
  const replicas = keys.map((key) => client.synced(key, schema as never) as Replica<unknown>);
  await Promise.all(replicas.map((replica) => replica.ready()));
  return (index) => replicas[index]!.get();
}
