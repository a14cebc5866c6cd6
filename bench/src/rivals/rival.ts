// What the harness asks of a library that a user would pick instead: the same records, the same changes, in whatever form
// its own server's side writes them. No gate: none of them has one.

import type { Open } from '../contestant.js';
import type { Item } from '../records.js';
import type { Frame, Update } from '../wire.js';

/** The side that owns the records. */
export type Serve = (records: readonly Item[]) => Server;

/** The side that shows them, from what `initial` returned. */
export type Follow<F extends Follower | Promise<Follower> = Follower> = (initial: Frame) => F;

/** What the module of a library exports. */
export interface Engine {
  /** Loads what the library loads. */
  readonly init?: () => Promise<void>;
  readonly serve: Serve;
  readonly follow: Follow;
}

export interface Server {
  /** Everything, for one who has nothing. */
  initial(): Frame;
  /** Writes a changed record; returns what travels. */
  write(before: Item, after: Item): Frame;
}

export interface Follower {
  receive(frame: Frame): void;
  /** The record as a plain object. */
  read(id: string): unknown;
}

/** Fields of a record that a change touches. */
export function changed(before: Item, after: Item): (keyof Item)[] {
  return (Object.keys(after) as (keyof Item)[]).filter((field) => before[field] !== after[field]);
}

/** A library as a contestant. */
export function contestant(engine: Engine): Open {
  return async (_entry, _shape, first) => {
    await engine.init?.();
    const records = first.map(({ value }) => value as Item);
    const server = engine.serve(records);
    const follower = engine.follow(server.initial());
    const ids = records.map(({ id }) => id);
    return {
      write([update]: readonly Update[]) {
        const after = update!.value as Item;
        const frame = server.write(records[update!.index]!, after);
        records[update!.index] = after;
        return frame;
      },
      receive: (frame) => follower.receive(frame),
      read: (index) => follower.read(ids[index]!),
      gateRan: () => 'none',
      close() {},
    };
  };
}
