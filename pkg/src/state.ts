// What a page was rendered from, taken along to where it goes on: the form of it, and what a client does with it.

import { Target } from './core.js';
import { invalid } from './errors.js';
import type { Runtime } from './runtime.js';
import { encode } from './value/encode.js';
import { fromJson } from './value/json.js';

/** An object as it was shown. Without a `value` it was deleted. */
export interface DehydratedObject {
  readonly value?: unknown;
  readonly schema_version: string | null;
  readonly sequence: number;
  readonly epoch: string | null;
}

/** A datastore as it was shown: of each record its sequence, its key and its value. */
export interface DehydratedDatastore {
  readonly rows: readonly (readonly [sequence: number, key: string, value: unknown])[];
  readonly sequence: number;
  readonly epoch: string | null;
}

/**
 * Values and positions: plain JSON, so that it can travel in a page or between processes. Values are as they came from
 * the authority, before any schema.
 */
export interface DehydratedState {
  /** The version of this form. */
  readonly tidewire: 1;
  readonly objects: { readonly [key: string]: DehydratedObject };
  readonly datastores: { readonly [id: string]: DehydratedDatastore };
}

/** @internal */
export const EMPTY: DehydratedState = { tidewire: 1, objects: {}, datastores: {} };

/** @internal The state of one object, or of one datastore. */
export const objectState = (key: string, object: DehydratedObject): DehydratedState => (
  { ...EMPTY, objects: Object.fromEntries([[key, object]]) }
);
export const datastoreState = (id: string, datastore: DehydratedDatastore): DehydratedState => (
  { ...EMPTY, datastores: Object.fromEntries([[id, datastore]]) }
);

/** @internal All of these; of one that is there twice, the last. */
export function merged(states: readonly DehydratedState[]): DehydratedState {
  const all = <T>(part: (state: DehydratedState) => { readonly [key: string]: T }): { readonly [key: string]: T } => (
    Object.fromEntries(states.flatMap((state) => Object.entries(part(state))))
  );
  return { tidewire: 1, objects: all((state) => state.objects), datastores: all((state) => state.datastores) };
}

/** @internal @throws TidewireError `invalid_argument` for what is no such state. */
export function checkState(state: DehydratedState): void {
  if (state?.tidewire !== 1) throw invalid('this is no dehydrated state, or one of another version of Tidewire: take what `dehydrate` returns');
}

/** What a seed is planted in. */
interface Planted {
  readonly isDisposed: boolean;
}

interface Seed {
  readonly data: DehydratedObject | DehydratedDatastore;
  /** The first replica that began with it. */
  first?: Planted;
}

/** @internal What the replicas of one client begin with. */
export class Seeds {
  readonly #objects = new Map<string, Seed>();
  readonly #datastores = new Map<string, Seed>();

  add(state: DehydratedState): void {
    checkState(state);
    for (const [key, data] of Object.entries(state.objects)) this.#objects.set(key, { data });
    for (const [id, data] of Object.entries(state.datastores)) this.#datastores.set(id, { data });
  }

  /** The seed for a new replica of this target. */
  of(target: Target, key: string): Seed | undefined {
    if (target >= Target.Pool) return undefined;
    const seeds = target === Target.Object ? this.#objects : target <= Target.Permanent ? this.#datastores : undefined;
    // What was shown is past by now: whoever comes later begins with what the server says.
    if (seeds?.get(key)?.first?.isDisposed) seeds.delete(key);
    return seeds?.get(key);
  }
}

/** @internal Gives a replica, whose subscription is held back, its seed. */
export function plant({ core, memory }: Runtime, slot: number, seed: Seed, replica: Planted): void {
  seed.first ??= replica;
  const { data } = seed;
  if (data.epoch === null) return;
  const isRows = 'rows' in data;
  let bytes: Uint8Array;
  try {
    if (isRows) bytes = encode(data.rows.map(([sequence, key, value]) => [sequence, key, fromJson(value)]));
    else bytes = 'value' in data ? encode(fromJson(data.value)) : new Uint8Array();
  } catch {
    // Nothing that a server has shown: then it is asked.
    return;
  }
  const version = isRows ? null : data.schema_version;
  const first = memory.put(data.epoch);
  const second = memory.put(version ?? '', first);
  core.seed(slot, data.sequence, first, second, memory.put(bytes, second), isRows);
}
