// What the types of the adapters promise, for every kind of schema. Nothing here runs: `npm run typecheck` compiles it.

import { type Static, Type } from '@sinclair/typebox';
import { type } from 'arktype';
import type { Accessor } from 'solid-js';
import { Signal } from 'signal-polyfill';
import * as v from 'valibot';
import { expectTypeOf } from 'vitest';
import type { ComputedRef, ShallowRef } from 'vue';
import { z } from 'zod';
import type { Client, ClientStatus, Collection, DehydratedState, Replica, ReplicaMeta, TaggedSchema } from 'tidewire';
import * as react from 'tidewire/react';
import * as signals from 'tidewire/signals';
import * as solid from 'tidewire/solid';
import { dehydrate, seedOf } from 'tidewire/ssr';
import { metaStore, selectStore, statusStore, type Store, valueStore } from 'tidewire/store';
import * as svelte from 'tidewire/svelte';
import * as vue from 'tidewire/vue';

interface User { name: string; tags: string[] }

const Zod = z.object({ name: z.string(), tags: z.array(z.string()).default([]) });
const Valibot = v.object({ name: v.string(), tags: v.array(v.string()) });
const Arktype = type({ name: 'string', tags: 'string[]' });
const TypeBox = Type.Object({ name: Type.String(), tags: Type.Array(Type.String()) });
const Tagged: TaggedSchema<User> = { parse: (value) => ({ tag: 'Ok', value: value as User }) };
declare const client: Client;
declare const replica: Replica<User>;
declare const users: Collection<User>;

expectTypeOf<Static<typeof TypeBox>>().toEqualTypeOf<User>();

// React
expectTypeOf(react.useSynced('k', Zod)).toEqualTypeOf<User | undefined>();
expectTypeOf(react.useSynced('k', Valibot)).toEqualTypeOf<User | undefined>();
expectTypeOf(react.useSynced('k', Arktype)).toEqualTypeOf<User | undefined>();
expectTypeOf(react.useSynced('k', TypeBox)).toEqualTypeOf<User | undefined>();
expectTypeOf(react.useSynced('k', Tagged)).toEqualTypeOf<User | undefined>();
expectTypeOf(react.useSynced<User>('k')).toEqualTypeOf<User | undefined>();
expectTypeOf(react.useSynced(null)).toEqualTypeOf<unknown>();
expectTypeOf(react.useSynced('k', Zod, { select: 'name' })).toEqualTypeOf<string | undefined>();
expectTypeOf(react.useSynced('k', Zod, { select: ['tags', 0] })).toEqualTypeOf<string | undefined>();
expectTypeOf(react.useSynced('k', Zod, { select: (user) => user?.tags.length ?? 0 })).toEqualTypeOf<number>();
expectTypeOf(react.useSyncedReplica('k', Valibot)).toEqualTypeOf<Replica<User> | undefined>();
expectTypeOf(react.useCollection('users', Arktype)).toEqualTypeOf<react.CollectionView<User>>();
expectTypeOf(react.useCollection('users', TypeBox, { primary: 'name' }).rows).toEqualTypeOf<readonly User[]>();
expectTypeOf(react.useCollection<User>('users')).toEqualTypeOf<react.CollectionView<User>>();
expectTypeOf(react.useCollection(users)).toEqualTypeOf<react.CollectionView<User>>();
expectTypeOf(react.useReplica(replica)).toEqualTypeOf<User | undefined>();
expectTypeOf(react.useReplica(users)).toEqualTypeOf<readonly User[]>();
expectTypeOf(react.useSelect(replica, 'tags')).toEqualTypeOf<string[] | undefined>();
expectTypeOf(react.useSelect(users, ['ada', 'name'])).toEqualTypeOf<string | undefined>();
expectTypeOf(react.useSelect(users, (rows) => rows.length)).toEqualTypeOf<number>();
expectTypeOf(react.useStatus()).toEqualTypeOf<ClientStatus>();
expectTypeOf(react.useStatus(replica)).toEqualTypeOf<ReplicaMeta>();
expectTypeOf(react.useClient()).toEqualTypeOf<Client | undefined>();

expectTypeOf(react.usePool('doc', Zod, { presence: true })).toEqualTypeOf<react.PoolView<User>>();
expectTypeOf(react.usePool<number>('doc').fields).toEqualTypeOf<Readonly<Record<string, number>>>();
react.useCollection('users', Zod, { order: (one, other) => one.name.localeCompare(other.name) });

// Vue
expectTypeOf(vue.useSynced('k', Zod)).toEqualTypeOf<Readonly<ShallowRef<User | undefined>>>();
expectTypeOf(vue.useSynced(() => 'k', Valibot)).toEqualTypeOf<vue.Shown<User | undefined>>();
expectTypeOf(vue.useSynced('k', Arktype).value).toEqualTypeOf<User | undefined>();
expectTypeOf(vue.useSynced('k', TypeBox).value).toEqualTypeOf<User | undefined>();
expectTypeOf(vue.useSynced('k', Tagged).value).toEqualTypeOf<User | undefined>();
expectTypeOf(vue.useCollection('users', Zod).rows).toEqualTypeOf<ComputedRef<readonly User[]>>();
expectTypeOf(vue.useCollection(users).collection.value).toEqualTypeOf<Collection<User> | undefined>();
expectTypeOf(vue.useReplica(users).value).toEqualTypeOf<readonly User[]>();
expectTypeOf(vue.useSelect(replica, 'name').value).toEqualTypeOf<string | undefined>();
expectTypeOf(vue.useStatus().value).toEqualTypeOf<ClientStatus>();
expectTypeOf(vue.useStatus(replica).value).toEqualTypeOf<ReplicaMeta | undefined>();

expectTypeOf(vue.usePool('doc', Valibot).fields.value).toEqualTypeOf<Readonly<Record<string, User>>>();

// Svelte
expectTypeOf(svelte.useSynced('k', Zod).current).toEqualTypeOf<User | undefined>();
expectTypeOf(svelte.useSynced(() => 'k', Valibot).current).toEqualTypeOf<User | undefined>();
expectTypeOf(svelte.useSynced('k', Arktype).replica).toEqualTypeOf<Replica<User> | undefined>();
expectTypeOf(svelte.useSynced('k', TypeBox).current).toEqualTypeOf<User | undefined>();
expectTypeOf(svelte.useSynced('k', Tagged).current).toEqualTypeOf<User | undefined>();
expectTypeOf(svelte.useCollection('users', Zod).current.rows).toEqualTypeOf<readonly User[]>();
expectTypeOf(svelte.useReplica(replica).current).toEqualTypeOf<User | undefined>();
expectTypeOf(svelte.useSelect(users, 'ada.name').current).toEqualTypeOf<string | undefined>();
expectTypeOf(svelte.useStatus().current).toEqualTypeOf<ClientStatus>();

expectTypeOf(svelte.usePool('doc', Arktype).current.fields).toEqualTypeOf<Readonly<Record<string, User>>>();

// Solid
expectTypeOf(solid.useSynced('k', Zod)).toEqualTypeOf<Accessor<User | undefined>>();
expectTypeOf(solid.useSynced(() => 'k', Valibot)()).toEqualTypeOf<User | undefined>();
expectTypeOf(solid.useSynced('k', Arktype)()).toEqualTypeOf<User | undefined>();
expectTypeOf(solid.useSynced('k', TypeBox)()).toEqualTypeOf<User | undefined>();
expectTypeOf(solid.useSynced('k', Tagged)()).toEqualTypeOf<User | undefined>();
expectTypeOf(solid.useCollection('users', Zod).rows()).toEqualTypeOf<readonly User[]>();
expectTypeOf(solid.useReplica(replica)()).toEqualTypeOf<User | undefined>();
expectTypeOf(solid.useSelect(replica, 'tags.0')()).toEqualTypeOf<string | undefined>();
expectTypeOf(solid.useStatus()().state).toEqualTypeOf<ClientStatus['state']>();

expectTypeOf(solid.usePool('doc', TypeBox).fields()).toEqualTypeOf<Readonly<Record<string, User>>>();

// TC39 signals
expectTypeOf(signals.signalOf(replica)).toEqualTypeOf<Signal.Computed<User | undefined>>();
expectTypeOf(signals.signalOf(users).get()).toEqualTypeOf<readonly User[]>();
expectTypeOf(signals.statusSignal(client).get()).toEqualTypeOf<ClientStatus>();
expectTypeOf(client.datastore('users', Zod, { createCell: signals.createCell })).toEqualTypeOf<Collection<User>>();

// The contract beneath, and what travels
expectTypeOf(valueStore(replica)).toEqualTypeOf<Store<User | undefined>>();
expectTypeOf(valueStore(users).getSnapshot()).toEqualTypeOf<readonly User[]>();
expectTypeOf(selectStore(users, ['ada', 'tags'])).toEqualTypeOf<Store<string[] | undefined>>();
expectTypeOf(metaStore(users)).toEqualTypeOf<Store<ReplicaMeta>>();
expectTypeOf(statusStore(client)).toEqualTypeOf<Store<ClientStatus>>();
expectTypeOf(dehydrate(replica, users, client)).toEqualTypeOf<DehydratedState>();
expectTypeOf(seedOf(dehydrate(), 'k')?.sequence).toEqualTypeOf<number | undefined>();

// @ts-expect-error a record of another shape
void react.useCollection('users', Zod).set({ nom: 'Ada' });
// @ts-expect-error an order of other rows
react.useCollection('users', Zod, { order: (one: { age: number }) => one.age });
// @ts-expect-error a kind that is none
react.useCollection('users', Zod, { kind: 'forever' });
// @ts-expect-error a key that is none
vue.useSynced(7, Zod);
// @ts-expect-error refs of replicas cannot be set
vue.useSynced('k', Zod).value = undefined;
// @ts-expect-error nothing that is shown
react.useReplica({ name: 'Ada' });
