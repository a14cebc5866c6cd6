// What the types promise. Nothing here runs: `npm run typecheck` compiles it.

import { expectTypeOf } from 'vitest';
import { z } from 'zod';
import {
  type Cell, type Client, type Collection, createClientReplica, type Envelope, InProcessTransport, type KvEvent, type Pool,
  type Replica, synced, type TaggedSchema, type TidewireError, WebSocketTransport,
} from 'tidewire';

interface User { name: string }

const Tagged: TaggedSchema<User> = { parse: (value) => ({ tag: 'Ok', value: value as User }) };
const Zod = z.object({ name: z.string(), age: z.number().default(0) });
const transport = new InProcessTransport();
declare const client: Client;
declare const cell: Cell<User | undefined>;

// Options come after the schema.
// @ts-expect-error
void (() => client.datastore('users', { kind: 'permanent' }));
// @ts-expect-error
void (() => client.pool('cursors', { presence: true }));

expectTypeOf(createClientReplica({ key: 'k', transport, schema: Tagged })).toEqualTypeOf<Replica<User>>();
expectTypeOf(createClientReplica({ key: 'k', transport, schema: Zod })).toEqualTypeOf<Replica<{ name: string; age: number }>>();
expectTypeOf(createClientReplica<User>({ key: 'k', transport })).toEqualTypeOf<Replica<User>>();
expectTypeOf(createClientReplica({ key: 'k', transport })).toEqualTypeOf<Replica<unknown>>();
expectTypeOf(createClientReplica({ key: 'k', transport, schema: Tagged, cell }).get()).toEqualTypeOf<User | undefined>();

// A gate written by hand, without a named type.
const inferred = createClientReplica({
  key: 'k', transport,
  schema: { parse: (v: unknown) => (typeof v === 'number' ? { tag: 'Ok' as const, value: v } : { tag: 'Err' as const, error: 'no' }) },
});
expectTypeOf(inferred).toEqualTypeOf<Replica<number>>();

expectTypeOf(client.synced('user:1', Zod)).toEqualTypeOf<Replica<{ name: string; age: number }>>();
expectTypeOf(client.synced<User>('user:1')).toEqualTypeOf<Replica<User>>();
expectTypeOf(client.datastore('users', Zod, { kind: 'permanent' })).toEqualTypeOf<Collection<{ name: string; age: number }>>();
expectTypeOf(client.datastore<User>('users')).toEqualTypeOf<Collection<User>>();
expectTypeOf(client.datastore('users', Tagged).rows()).toEqualTypeOf<readonly User[]>();
expectTypeOf(client.datastore('users', Tagged).get('1')).toEqualTypeOf<User | undefined>();
expectTypeOf(client.put('user:1', {})).toEqualTypeOf<Promise<void>>();
expectTypeOf(client.datastore('users', Zod, { order: (one, other) => one.age - other.age }).rows()).toEqualTypeOf<readonly { name: string; age: number }[]>();
expectTypeOf(client.pool('doc', Zod)).toEqualTypeOf<Pool<{ name: string; age: number }>>();
expectTypeOf(client.pool<number>('doc', undefined, { presence: true }).fields()).toEqualTypeOf<Readonly<Record<string, number>>>();
expectTypeOf(client.notify('bob', 1, { suit: true })).toEqualTypeOf<Promise<string>>();
expectTypeOf(client.kv('g').get<number>('k')).toEqualTypeOf<Promise<number | undefined>>();
client.kv('g').watch<number>('k', (event) => {
  expectTypeOf(event).toEqualTypeOf<KvEvent<number>>();
  if (event.kind === 'set') expectTypeOf(event.value).toEqualTypeOf<number>();
});
expectTypeOf(synced('k', Zod)).toEqualTypeOf<Replica<{ name: string; age: number }>>();
expectTypeOf(createClientReplica({ key: 'k', transport: new WebSocketTransport(client), schema: Tagged })).toEqualTypeOf<Replica<User>>();

inferred.subscribe((value) => expectTypeOf(value).toEqualTypeOf<number | undefined>());
inferred.on('error', (error) => expectTypeOf(error).toEqualTypeOf<TidewireError>());
inferred.on('rollback', (position) => expectTypeOf(position.sequence).toEqualTypeOf<number>());

const status = client.status();
if (status.state === 'reconnecting') expectTypeOf(status.nextAttemptAt).toEqualTypeOf<number | null>();
if (status.state === 'closed') expectTypeOf(status.error).toEqualTypeOf<TidewireError | null>();

transport.subscribe('k', (envelope) => expectTypeOf(envelope).toEqualTypeOf<Envelope>());

// @ts-expect-error a kind that is none
client.datastore('users', Zod, { kind: 'forever' });
// @ts-expect-error a record of another shape
void client.datastore('users', Zod).set({ nom: 'Ada' });
// @ts-expect-error a field of another shape
void client.pool('doc', Zod).set({ a: { nom: 'Ada' } });
// @ts-expect-error no schema
createClientReplica({ key: 'k', transport, schema: 'object' });
// @ts-expect-error a cell of another value
createClientReplica({ key: 'k', transport, schema: Zod, cell: cell as Cell<number> });
// @ts-expect-error replicas are read-only
inferred.stats.applied = 5;
