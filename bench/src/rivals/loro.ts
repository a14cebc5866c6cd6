// Loro: a map of maps; a change sets the fields that differ, and what the document exports since the last one travels.

import * as loro from 'loro-crdt/web';
import { changed, type Follow, type Serve } from './rival.js';
import { wasm } from './wasm.js';

const { LoroMap } = loro;
type LoroMap = loro.LoroMap;
// The types say nothing of the initialiser, which is the default export.
const { default: initialise } = loro as unknown as { default: (options: { module_or_path: string | Uint8Array }) => Promise<unknown> };

export async function init(): Promise<void> {
  await initialise({ module_or_path: await wasm('loro') });
}

export const serve: Serve = (records) => {
  const doc = new loro.LoroDoc();
  const items = doc.getMap('items');
  for (const record of records) {
    const item = items.setContainer(record.id, new LoroMap());
    for (const [field, value] of Object.entries(record)) item.set(field, value);
  }
  doc.commit();
  return {
    initial: () => doc.export({ mode: 'snapshot' }),
    write(before, after) {
      const from = doc.version();
      const item = items.get(after.id) as LoroMap;
      for (const field of changed(before, after)) item.set(field, after[field]);
      doc.commit();
      return doc.export({ mode: 'update', from });
    },
  };
};

export const follow: Follow = (initial) => {
  const doc = new loro.LoroDoc();
  const items = doc.getMap('items');
  doc.import(initial as Uint8Array);
  return {
    receive: (frame) => void doc.import(frame as Uint8Array),
    read: (id) => (items.get(id) as LoroMap).toJSON(),
  };
};
