// Automerge: a map of maps; a change sets the fields that differ, and travels as it was made.

import * as A from '@automerge/automerge/slim';
import type { Item } from '../records.js';
import { changed, type Follow, type Serve } from './rival.js';
import { wasm } from './wasm.js';

interface Items { items: Record<string, Item> }

export async function init(): Promise<void> {
  await A.initializeWasm(await wasm('automerge'));
}

export const serve: Serve = (records) => {
  let doc = A.from<Record<string, unknown>>({ items: Object.fromEntries(records.map((record) => [record.id, record])) }) as unknown as A.Doc<Items>;
  return {
    initial: () => A.save(doc),
    write(before, after) {
      doc = A.change(doc, (draft) => {
        const item = draft.items[after.id]! as Record<string, unknown>;
        for (const field of changed(before, after)) item[field] = after[field];
      });
      return A.getLastLocalChange(doc)!;
    },
  };
};

export const follow: Follow = (initial) => {
  let doc = A.load<Items>(initial as Uint8Array);
  return {
    receive(frame) {
      [doc] = A.applyChanges(doc, [frame as Uint8Array]);
    },
    read: (id) => doc.items[id],
  };
};
