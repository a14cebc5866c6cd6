// Node: writes what the followers of `rivals/` begin from.

import { connect } from 'tidewire';
import { itemAt } from './records.js';
import * as automerge from './rivals/automerge.js';
import * as loro from './rivals/loro.js';
import type { Engine } from './rivals/rival.js';
import * as tanstack from './rivals/tanstack.js';
import { idAt, PER_CONNECTION, write } from './rivals/tidewire.js';
import * as tinybase from './rivals/tinybase.js';
import * as yjs from './rivals/yjs.js';
import { ServerLink } from './server_link.js';
import { type Frame, snapshots, type Update } from './wire.js';

const ENGINES: Record<string, Engine> = { yjs, loro, automerge, tinybase, tanstack };

/** What the follower `id` of `count` items begins from. */
export async function initial(id: string, count: number): Promise<Frame> {
  switch (id) {
    case 'tidewire-records': return write([await recorded(0, count, true)]);
    case 'tidewire-objects': {
      const parts = [];
      for (let from = 0; from < count; from += PER_CONNECTION) {
        parts.push(await recorded(from, Math.min(PER_CONNECTION, count - from), false));
      }
      const file = write(parts);
      const whole = new Uint8Array(file.length + 4);
      whole.set(file);
      new DataView(whole.buffer).setUint32(file.length, count);
      return whole;
    }
    case 'twin': return twin(count);
    default: {
      const engine = ENGINES[id];
      if (engine === undefined) throw new Error(`nobody is called ${id}`);
      await engine.init?.();
      return engine.serve(Array.from({ length: count }, (_, i) => itemAt(i))).initial();
    }
  }
}

const updateAt = (index: number): Update => ({ index, sequence: 100_000, number: 100_001 + index, value: itemAt(index) });

function twin(count: number): string {
  const lines: string[] = [];
  for (let from = 0; from < count; from += 500) {
    const part = Array.from({ length: Math.min(500, count - from) }, (_, i) => updateAt(from + i));
    lines.push(snapshots('json', part, part.map(({ index }) => index)) as string);
  }
  return lines.join('\n');
}

/** What the server answers to each frame of a client that opens these records. */
async function recorded(from: number, count: number, isDatastore: boolean): Promise<ArrayBuffer[][]> {
  const records = Array.from({ length: count }, (_, i) => updateAt(from + i));
  const answers: ArrayBuffer[][] = [];
  const sent: Uint8Array[] = [];
  let isReleased = false;
  class RecordingLink extends ServerLink {
    override deliver(frame: Frame): void {
      answers.at(-1)!.push(frame as ArrayBuffer);
      super.deliver(frame);
    }

    override send(frame: Uint8Array): void {
      if (!isReleased) return void sent.push(frame.slice());
      super.send(frame);
      // Its answers come later, in a microtask.
      answers.push([]);
    }
  }
  const byKey = new Map(records.map((record, i) => [idAt(from + i), record]));
  const link = new RecordingLink({ object: (key) => byKey.get(key)!, records: () => records });
  const client = await connect({ link: () => link });
  const opened = isDatastore
    ? client.datastore('items', undefined, { kind: 'permanent' })
    : records.map((_, i) => client.synced(idAt(from + i))).at(-1)!;
  isReleased = true;
  for (const frame of sent) link.send(frame);
  await opened.ready();
  client.close();
  return answers;
}
