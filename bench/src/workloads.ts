// What is measured on the hot path, who takes part in it, and by how much Tidewire has to be ahead.

import type { Entry } from './contestant.js';

export interface Workload {
  readonly id: string;
  readonly label: string;
  readonly shape: 'item' | 'order';
  /** Records that the stream is about. */
  readonly records: number;
  /** Envelopes of a frame. */
  readonly perFrame: number;
  /** Frames of a round. */
  readonly frames: number;
  readonly entries: readonly Entry[];
  readonly bars: readonly Bar[];
}

/** `ours` has to be at least `times` as fast as `theirs`. */
export interface Bar {
  readonly ours: string;
  readonly theirs: string;
  readonly times: number;
}

const TIDEWIRE: readonly Entry[] = [
  { id: 'tidewire-zod', label: 'Tidewire, zod schema', bundle: 'tidewire', codec: 'tidewire', gate: 'zod' },
  { id: 'tidewire-json-schema', label: 'Tidewire, JSON Schema', bundle: 'tidewire', codec: 'tidewire', gate: 'json-schema' },
  { id: 'tidewire-none', label: 'Tidewire, no gate', bundle: 'tidewire', codec: 'tidewire', gate: 'none' },
];

const TWINS: readonly Entry[] = (['json', 'msgpackr'] as const).flatMap((codec) => (['zod', 'hand', 'none'] as const).map((gate) => ({
  id: `twin-${gate}-${codec}`,
  label: `JS twin, ${{ zod: 'zod', hand: 'hand-written check', none: 'no check' }[gate]}, ${{ json: 'JSON', msgpackr: 'msgpackr' }[codec]}`,
  bundle: 'twin' as const,
  codec,
  gate,
})));

const OBJECTS: readonly Entry[] = (['zod', 'hand', 'none'] as const).flatMap((gate) => (['tidewire', 'twin'] as const).map((bundle) => ({
  id: `${bundle}-${gate}-objects`,
  label: `${bundle === 'twin' ? 'JS twin' : 'Tidewire'}, ${{ zod: 'zod', hand: 'hand-written check', none: 'no check' }[gate]}`,
  bundle,
  codec: 'objects' as const,
  gate,
})));

/** What the workload itself costs: a bound that nobody gets below. */
const FLOOR: Entry = { id: 'floor', label: 'reading alone, no decoding and no rules', bundle: 'twin', codec: 'objects', gate: 'none' };

const WIRE = [...TIDEWIRE, ...TWINS, FLOOR];

const OTHERS: readonly Entry[] = [
  { id: 'tidewire-none-records', label: 'Tidewire datastore, no gate', bundle: 'tidewire', codec: 'records', gate: 'none' },
  { id: 'tidewire-zod-records', label: 'Tidewire datastore, zod schema', bundle: 'tidewire', codec: 'records', gate: 'zod' },
  ...([
    ['yjs', 'Yjs'], ['loro', 'Loro'], ['automerge', 'Automerge'], ['tinybase', 'TinyBase'], ['tanstack', 'TanStack DB'],
  ] as const).map(([id, label]) => ({ id, label, bundle: id, codec: 'own' as const, gate: 'none' as const })),
];

const ahead = (times: number): Bar => ({ ours: 'tidewire-zod', theirs: 'twin-zod-json', times });

export const WORKLOADS: readonly Workload[] = [
  {
    id: 'hundred', label: '100 envelopes a frame, each of another key, every value read',
    shape: 'item', records: 100, perFrame: 100, frames: 100, entries: WIRE,
    bars: [ahead(3), { ours: 'tidewire-zod', theirs: 'twin-hand-json', times: 1.5 }],
  },
  {
    id: 'one', label: 'one envelope a frame, every value read',
    shape: 'item', records: 100, perFrame: 1, frames: 6000, entries: WIRE, bars: [ahead(2)],
  },
  {
    id: 'burst', label: '1,000 envelopes a frame over 10 keys, read once a frame',
    shape: 'item', records: 10, perFrame: 1000, frames: 12, entries: WIRE, bars: [ahead(5)],
  },
  {
    id: 'large', label: 'a record of 10 KB with one field changed',
    shape: 'order', records: 10, perFrame: 1, frames: 400, entries: WIRE, bars: [ahead(12)],
  },
  {
    id: 'objects', label: 'JavaScript objects in the process, one a publish, every value read',
    shape: 'item', records: 100, perFrame: 1, frames: 20_000, entries: OBJECTS,
    bars: [{ ours: 'tidewire-hand-objects', theirs: 'twin-hand-objects', times: 0.7 }],
  },
  {
    id: 'others', label: 'what else one would pick: a change of one record of 1,000 a frame, read',
    shape: 'item', records: 1000, perFrame: 1, frames: 1000, entries: OTHERS, bars: [],
  },
];
