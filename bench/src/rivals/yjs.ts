// Yjs: a map of maps; a change sets the fields that differ, and its update travels.

import * as Y from 'yjs';
import type { Item } from '../records.js';
import { changed, type Follow, type Serve } from './rival.js';

export const serve: Serve = (records) => {
  const doc = new Y.Doc();
  const items = doc.getMap<Y.Map<unknown>>('items');
  doc.transact(() => {
    for (const record of records) items.set(record.id, new Y.Map(Object.entries(record)));
  });
  let update: Uint8Array = new Uint8Array();
  doc.on('update', (bytes: Uint8Array) => { update = bytes; });
  return {
    initial: () => Y.encodeStateAsUpdate(doc),
    write(before, after) {
      doc.transact(() => {
        const item = items.get(after.id)!;
        for (const field of changed(before, after)) item.set(field, after[field]);
      });
      return update;
    },
  };
};

export const follow: Follow = (initial) => {
  const doc = new Y.Doc();
  const items = doc.getMap<Y.Map<unknown>>('items');
  Y.applyUpdate(doc, initial as Uint8Array);
  return {
    receive: (frame) => Y.applyUpdate(doc, frame as Uint8Array),
    read: (id) => items.get(id)!.toJSON() as Item,
  };
};
